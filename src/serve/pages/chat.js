// The chat page: what is on the screen, and what happens when somebody does something to it.
import * as store from "./store.js";
import { render } from "./markdown.js";
import * as service from "./service.js";

const $ = (id) => document.getElementById(id);
const SAMPLING = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
  "max_tokens", "seed"];

let settings = store.settings();
let models = [];
let current = null;       // the conversation on the screen
let running = null;       // {abort, conversation, node}: the answer that is coming
let editing = -1;         // the message that is being edited

// --- Small things ---

function button(label, action, name) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = label;
  if (name) node.setAttribute("aria-label", name);
  node.addEventListener("click", action);
  return node;
}

const say = (text) => { $("say").textContent = text; };

function trouble(text, again) {
  const node = $("trouble");
  node.replaceChildren();
  node.hidden = !text;
  if (!text) return;
  node.append(text);
  if (again) node.append(button("Try again", again));
  node.scrollIntoView({ block: "nearest" });
}

const nearEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 80;
const toEnd = () => { $("scroll").scrollTop = $("scroll").scrollHeight; };

function grow() {
  const input = $("input");
  input.style.height = "auto";
  input.style.height = Math.min(input.scrollHeight + 2, innerHeight * 0.4) + "px";
}

function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {    // a page that is not on localhost or HTTPS has no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied");
}

// Resolves to true where Delete is pressed. The event that a dialog has closed may come when it is open for the next question already.
let answerSure = () => {};
function sure(text) {
  answerSure(false);
  $("sure-text").textContent = text;
  $("sure-dialog").showModal();
  return new Promise((done) => { answerSure = done; });
}

// --- Conversations ---

function keep() {
  current.updated = Date.now();
  if (!store.save(current)) trouble("The browser has no room left to keep this conversation. Export it, or delete old ones.");
  drawList();
}

function open(conversation) {
  stop();
  current = conversation;
  editing = -1;
  if (models.some((m) => m.id === current.model)) $("model").value = current.model;
  trouble("");
  drawList();
  drawMessages();
  toEnd();
  showMeter();
}

function openNew() {
  open(store.create($("model").value));
  showSide(false);
  $("input").focus();
}

/* Also one that is being answered: what still comes is not kept. */
function forget(id) {
  if (running?.conversation.id === id) running.forgotten = true;
  store.remove(id);
}

function drawList() {
  const kept = store.all();
  $("list").replaceChildren(...kept.map((conversation) => {
    const item = document.createElement("li");
    const name = conversation.title || "Conversation";
    const link = button(name, () => {
      open(store.load(conversation.id));
      showSide(false);
    });
    link.className = "open";
    link.title = name;
    const drop = button("✕", async () => {
      if (!await sure(`“${name}” will be gone for good.`)) return;
      forget(conversation.id);
      if (current.id === conversation.id) openNew();
      drawList();
    }, `Delete “${name}”`);
    drop.className = "drop";
    if (conversation.id === current?.id) item.setAttribute("aria-current", "true");
    item.append(link, drop);
    return item;
  }));
  $("export-all").disabled = $("clear-all").disabled = !kept.length;
  $("export").disabled = !current?.messages.length;
}

function showSide(shown) {
  $("side").classList.toggle("open", shown);
  $("shade").hidden = !shown;
  $("menu").setAttribute("aria-expanded", shown);
  if (shown) $("new").focus();
}

// --- Messages ---

function statsText(message) {
  const parts = [];
  const s = message.stats;
  if (s?.tokens) parts.push(`${s.tokens} token${s.tokens === 1 ? "" : "s"}`);
  if (s?.rate) parts.push(`${s.rate.toFixed(s.rate < 100 ? 1 : 0)} tokens/s`);
  if (s?.first !== undefined) parts.push(`first after ${s.first < 1 ? Math.ceil(s.first * 1000) + " ms" : s.first.toFixed(1) + " s"}`);
  if (message.stopped) parts.push("stopped");
  if (s?.reason === "length") parts.push("cut at the limit of tokens");
  return parts.join(" · ");
}

function drawMessage(message, index) {
  const node = document.createElement("li");
  node.className = "message " + message.role;
  const words = document.createElement("div");
  words.className = "words";
  if (message.role === "assistant") render(message.content, words);
  else words.textContent = message.content;
  const who = document.createElement("span");
  who.className = "sr";
  who.textContent = message.role === "user" ? "You said:" : "The model said:";
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.append(button("Copy", () => copy(message.content)));
  if (message.role === "user") tools.append(button("Edit", () => edit(index)));
  else tools.append(button("Retry", () => retry(index)));
  const stats = document.createElement("span");
  stats.className = "stats";
  stats.textContent = statsText(message);
  tools.append(stats);
  node.append(who, words, tools);
  if (editing === index) drawEditor(node, words, tools, message, index);
  return node;
}

function drawMessages() {
  const busy = running?.conversation === current;
  const nodes = current.messages.map(drawMessage);
  $("messages").replaceChildren(...nodes);
  $("messages").setAttribute("aria-busy", busy);
  $("empty").hidden = current.messages.length > 0;
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  $("export").disabled = !current.messages.length;
  if (busy) running.node = nodes[nodes.length - 1];
}

// --- Editing what was said: the conversation goes on from there ---

function edit(index) {
  stop();
  editing = index;
  drawMessages();
  const area = $("messages").querySelector(".editing textarea");
  area.focus();
  area.setSelectionRange(area.value.length, area.value.length);
}

function drawEditor(node, words, tools, message, index) {
  const area = document.createElement("textarea");
  const buttons = document.createElement("div");
  const cancel = () => {
    editing = -1;
    drawMessages();
    $("input").focus();
  };
  const save = () => {
    const text = area.value.trim();
    if (!text) return;
    editing = -1;
    current.messages.length = index;
    current.messages.push({ role: "user", content: text });
    answer();
    $("input").focus();
  };
  area.value = message.content;
  area.rows = Math.min(12, message.content.split("\n").length + 1);
  area.setAttribute("aria-label", "Edit the message");
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      save();
    }
  });
  const send = button("Send", save);
  send.className = "main";
  buttons.className = "edit-buttons";
  buttons.append(button("Cancel", cancel), send);
  node.classList.add("editing");
  words.replaceChildren(area, buttons);
  tools.hidden = true;
}

function retry(index) {
  stop();
  current.messages.length = index;
  answer();
}

// --- The answer ---

function asked(conversation) {
  const body = { model: $("model").value };
  body.messages = conversation.messages.slice(0, -1).map(({ role, content }) => ({ role, content }));
  if (conversation.system) body.messages.unshift({ role: "system", content: conversation.system });
  for (const name of SAMPLING) if (settings[name] !== undefined) body[name] = settings[name];
  return body;
}

function stop() {
  running?.abort.abort();
}

// Draws at most once a frame, however fast the pieces come.
function drawSoon(task, message) {
  if (task.frame) return;
  task.frame = requestAnimationFrame(() => {
    task.frame = 0;
    if (running !== task || current !== task.conversation || !task.node) return;
    const words = task.node.querySelector(".words"), follow = nearEnd();
    words.replaceChildren();
    render(message.content, words);
    words.classList.toggle("waiting", !message.content);
    if (follow) toEnd();
  });
}

function keepStats(message, result, seconds) {
  message.stats = {
    tokens: result.usage?.completion_tokens, prompt: result.usage?.prompt_tokens, reason: result.reason,
    rate: result.timings?.tokens_per_second, first: result.timings?.seconds_to_first_token, seconds,
  };
}

async function answer() {
  const conversation = current;
  const message = { role: "assistant", content: "" };
  const task = { abort: new AbortController(), conversation, node: null, frame: 0 };
  running?.abort.abort();
  conversation.model = $("model").value;
  conversation.messages.push(message);
  running = task;
  trouble("");
  drawMessages();
  task.node.querySelector(".words").classList.add("waiting");
  task.node.querySelector(".tools").hidden = true;
  toEnd();
  const begin = performance.now();
  let problem = null, pieces = 0;
  try {
    const result = await service.chat(asked(conversation), settings.key, task.abort.signal, (text) => {
      message.content += text;
      pieces++;
      drawSoon(task, message);
    });
    keepStats(message, result, (performance.now() - begin) / 1000);
  } catch (found) {
    if (found.name === "AbortError") message.stopped = true;
    else problem = found;
  }
  finish(task, message, problem);
}

function finish(task, message, problem) {
  const { conversation } = task;
  const last = conversation.messages[conversation.messages.length - 1] === message;
  if (!message.content && (problem || message.stopped) && last) conversation.messages.pop();
  conversation.updated = Date.now();
  if (conversation.messages.length && !task.forgotten) store.save(conversation);
  if (running === task) running = null;
  drawList();
  if (current !== conversation) return;
  const follow = nearEnd(), inEditor = editing >= 0;
  if (!inEditor) drawMessages();
  if (follow) toEnd();
  showMeter();
  if (problem) failed(problem, answerAgain);
  else say(message.stopped ? "Stopped" : "The answer is complete");
}

function answerAgain() {
  if (current.messages.at(-1)?.role === "assistant") current.messages.pop();
  if (current.messages.length) answer();
}

function failed(problem, again) {
  if (problem.status === 401) {
    trouble("This server asks for an API key. ", () => openSettings("key"));
    $("trouble").querySelector("button").textContent = "Enter a key";
    return;
  }
  trouble(problem.message, again);
}

function showMeter() {
  const model = models.find((m) => m.id === $("model").value);
  const stats = current?.messages.at(-1)?.stats;
  const used = stats?.prompt + stats?.tokens;
  $("meter").textContent = used && model?.context_length ? `${used} of ${model.context_length} tokens of context used` : "";
}

// --- The box ---

function send() {
  const text = $("input").value.trim();
  if (!text || running?.conversation === current) return;
  if (!models.length) {
    trouble("There is no model to ask yet. ", start);
    return;
  }
  $("input").value = "";
  grow();
  editing = -1;
  if (current.messages.at(-1)?.role === "user") current.messages.pop();    // one that was never answered
  current.messages.push({ role: "user", content: text });
  if (!current.title) current.title = text.split("\n")[0].slice(0, 60);
  keep();
  answer();
}

// --- Settings ---

function setTheme() {
  if (settings.theme === "light" || settings.theme === "dark") document.documentElement.dataset.theme = settings.theme;
  else delete document.documentElement.dataset.theme;
}

function openSettings(focus) {
  $("system").value = current.system;
  for (const name of SAMPLING) $(name).value = settings[name] ?? "";
  $("theme").value = settings.theme || "auto";
  $("key").value = settings.key || "";
  $("settings-dialog").showModal();
  if (typeof focus === "string") $(focus).focus();
}

function readSettings() {
  for (const name of SAMPLING) {
    const value = $(name).valueAsNumber;
    if (Number.isNaN(value) || !$(name).validity.valid) delete settings[name];
    else settings[name] = value;
  }
  const key = $("key").value.trim(), changed = key !== (settings.key || "");
  settings.key = key || undefined;
  settings.theme = $("theme").value;
  store.saveSettings(settings);
  setTheme();
  if (current.system !== $("system").value) {
    current.system = $("system").value;
    if (current.messages.length) keep();
  }
  if (changed || !models.length) start();
  $("input").focus();
}

// --- Beginning ---

function showModel() {
  $("empty-model").textContent = $("model").value || "the model";
  showMeter();
}

async function start() {
  trouble("");
  try {
    models = await service.models(settings.key);
  } catch (problem) {
    models = [];
    failed(problem, start);
    return;
  }
  $("model").replaceChildren(...models.map((model) => new Option(model.id, model.id)));
  $("model").disabled = models.length < 2;
  const wanted = current?.messages.length ? current.model : settings.model;
  if (models.some((m) => m.id === wanted)) $("model").value = wanted;
  showModel();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("input").addEventListener("input", grow);
$("input").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "ArrowUp" && !$("input").value) {
    const index = current.messages.findLastIndex((m) => m.role === "user");
    if (index >= 0) {
      event.preventDefault();
      edit(index);
    }
  }
});
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && $("side").classList.contains("open")) showSide(false);
  else if (event.key === "Escape") stop();
  else if (event.altKey && event.code === "KeyN") openNew();
  else if (event.altKey && event.code === "KeyS") openSettings();
  else return;
  event.preventDefault();
});
$("stop").addEventListener("click", () => {
  stop();
  $("input").focus();
});
$("new").addEventListener("click", openNew);
$("menu").addEventListener("click", () => showSide(true));
$("close-side").addEventListener("click", () => {
  showSide(false);
  $("menu").focus();
});
$("shade").addEventListener("click", () => showSide(false));
$("settings").addEventListener("click", openSettings);
$("settings-dialog").addEventListener("close", readSettings);
$("reset").addEventListener("click", () => { for (const name of SAMPLING) $(name).value = ""; });
$("model").addEventListener("change", () => {
  settings.model = $("model").value;
  store.saveSettings(settings);
  showModel();
});
$("export").addEventListener("click", () => {
  $("export-dialog").returnValue = "";
  $("export-dialog").showModal();
});
$("export-dialog").addEventListener("close", () => {
  const name = (current.title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase() || "conversation";
  if ($("export-dialog").returnValue === "md") download(name + ".md", "text/markdown", store.asMarkdown(current));
  if ($("export-dialog").returnValue === "jsonl") download(name + ".jsonl", "application/jsonl", store.asJsonl([current]));
});
$("export-all").addEventListener("click", () => download("conversations.jsonl", "application/jsonl", store.asJsonl(store.all())));
$("clear-all").addEventListener("click", async () => {
  if (!await sure("All conversations kept in this browser will be gone for good.")) return;
  for (const conversation of store.all()) forget(conversation.id);
  openNew();
});
$("sure-yes").addEventListener("click", () => answerSure(true));
$("sure-dialog").addEventListener("close", () => { if (!$("sure-dialog").open) answerSure(false); });
addEventListener("storage", (event) => { if (store.isConversation(event.key)) drawList(); });
addEventListener("beforeunload", () => { if (running?.conversation.messages.length && !running.forgotten) store.save(running.conversation); });

setTheme();
open(store.all()[0] || store.create(""));
start();
if (!matchMedia("(pointer: coarse)").matches) $("input").focus();
