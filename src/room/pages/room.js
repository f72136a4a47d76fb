/* The room: what happens comes as a stream of events; texts are only ever put in as text. */
const $ = id => document.getElementById(id);
const COLOURS = [18, 95, 145, 200, 262, 320];

/* The secret of the link stays in this tab's address and is sent with everything that is asked. */
let token = location.hash.slice(1);
if (token) sessionStorage.setItem("token", token);
else token = sessionStorage.getItem("token") || "";
let name = localStorage.getItem("name") || "";
let owner = false, stopped = false;
const seen = new Set(), streams = new Map(), thinking = new Set();

/* --- Asking --- */

const headers = () => ({ Authorization: "Bearer " + token });

async function ask(path, body) {
  const answer = await fetch("api/" + path, { method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(data.error || "the room answered " + answer.status);
  return data;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

/* --- Messages --- */

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function colour(who) {
  let value = 5381;
  for (const c of who) value = (value * 33 + c.codePointAt(0)) >>> 0;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return `hsl(${COLOURS[value % COLOURS.length]} 60% ${dark ? 70 : 32}%)`;
}

function add(item) {
  const scroll = $("scroll"), near = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 120;
  $("messages").append(item);
  if (near) scroll.scrollTop = scroll.scrollHeight;
}

function stay() {
  const scroll = $("scroll");
  if (scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 160) scroll.scrollTop = scroll.scrollHeight;
}

function makeMessage(message) {
  const item = element("li", message.author);
  const who = element("span", "who", (message.author === "ai" ? "🤖 " : "") + message.name);
  who.style.color = message.author === "ai" ? colour(message.name) : "";
  item.append(who);
  if (message.time) {
    const when = element("time", "when", new Date(message.time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    when.dateTime = new Date(message.time * 1000).toISOString();
    item.append(when);
  }
  item.append(element("div", "words", message.text));
  if (message.author === "person" && message.name === name) item.classList.add("own");
  return item;
}

function showMessage(message) {
  if (seen.has(message.id)) return;
  seen.add(message.id);
  const stream = message.turn && streams.get(message.turn);
  const item = makeMessage(message);
  item.dataset.id = message.id;
  if (stream) stream.replaceWith(item);
  else add(item);
  streams.delete(message.turn);
  stay();
}

function showDelta(delta) {
  let item = streams.get(delta.turn);
  if (!item) {
    item = makeMessage({ author: "ai", name: delta.name, text: "" });
    item.classList.add("streaming");
    streams.set(delta.turn, item);
    add(item);
  }
  item.querySelector(".words").append(delta.text);
  stay();
}

function endTurn(turn) {
  streams.get(turn)?.remove();
  streams.delete(turn);
}

function showThinking() {
  const names = [...thinking];
  $("thinking").textContent = names.length ? names.join(", ") + (names.length > 1 ? " are" : " is") + " thinking …" : "";
}

const happens = {
  state: showState,
  history(messages) {
    streams.forEach(item => item.remove());
    streams.clear();
    thinking.clear();
    showThinking();
    messages.forEach(showMessage);
    $("scroll").scrollTop = $("scroll").scrollHeight;
  },
  thinking(event) { thinking.add(event.name); },
  delta: showDelta,
  message(event) { thinking.delete(event.name); showMessage(event); },
  pass(event) {
    thinking.delete(event.name);
    endTurn(event.turn);
    add(element("li", "faint", event.name + " passes"));
  },
  failed(event) { thinking.delete(event.name); endTurn(event.turn); },
  notice(event) { add(element("li", "notice", event.text)); },
  idle() { thinking.clear(); },
};

function happen(kind, data) {
  happens[kind]?.(data);
  showThinking();
}

/* --- The stream --- */

/* Events as they stand in the text: "event:" and "data:" lines, an empty one behind each. */
async function follow() {
  const answer = await fetch("api/events", { headers: headers() });
  if (answer.status === 401) {
    stopped = true;
    trouble((await answer.json()).error);
    $("composer").hidden = true;
    $("connection").textContent = "";
    return;
  }
  if (!answer.ok) throw new Error("" + answer.status);
  $("connection").textContent = "";
  trouble("");
  $("composer").hidden = false;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const lines = held.slice(0, end).split("\n");
      const kind = lines.find(line => line.startsWith("event:"))?.slice(6).trim();
      const data = lines.filter(line => line.startsWith("data:")).map(line => line.slice(5).replace(/^ /, "")).join("\n");
      if (kind) happen(kind, JSON.parse(data));
    }
  }
}

async function stay_connected() {
  for (let pause = 500; !stopped; pause = Math.min(pause * 2, 10000)) {
    const start = Date.now();
    try { await follow(); } catch { /* the network or the room is away */ }
    if (stopped) return;
    if (Date.now() - start > 5000) pause = 500;
    $("connection").textContent = "not connected, trying again …";
    await new Promise(done => setTimeout(done, pause));
  }
}

/* --- Members and settings --- */

function command(line) {
  return ask("command", { name, line });
}

function memberRow(member) {
  const row = element("li", member.present ? "" : "away");
  row.append(element("span", "", "🤖 " + member.name), element("span", "when", !member.present ? "not in the room" : member.muted ? "muted" : ""), element("span", "grow"));
  const button = (text, line) => {
    const made = element("button", "", text);
    made.type = "button";
    made.setAttribute("aria-label", text + " " + member.name);
    made.addEventListener("click", () => command(line + " " + member.name).catch(error => trouble(error.message)));
    row.append(made);
  };
  if (owner && member.present) button(member.muted ? "Unmute" : "Mute", member.muted ? "/unmute" : "/mute");
  if (owner) button(member.present ? "Send out" : "Invite", member.present ? "/kick" : "/invite");
  return row;
}

function showState(state) {
  if (state.owner !== undefined) owner = state.owner;
  document.title = state.title;
  $("title").textContent = state.title;
  $("members").replaceChildren(...state.members.map(memberRow));
  $("settings").textContent = `Order: ${state.order}. Rounds: ${state.rounds}.`;
  $("owner-part").hidden = !owner;
}

/* --- What people do --- */

async function send(text) {
  if (text.startsWith("/") && !text.startsWith("//")) {
    const { reply } = await command(text);
    reply.trim().split("\n").forEach(line => line && add(element("li", "notice", line)));
    $("scroll").scrollTop = $("scroll").scrollHeight;
  } else {
    await ask("say", { name, text: text.startsWith("//") ? text.slice(1) : text });
  }
}

function fit() {
  $("input").style.height = "auto";
  $("input").style.height = $("input").scrollHeight + 2 + "px";
}

$("composer").addEventListener("submit", async event => {
  event.preventDefault();
  const text = $("input").value;
  if (!text.trim()) return;
  $("input").value = "";
  fit();
  try {
    await send(text);
    trouble("");
  } catch (error) {    // what was written is not lost
    $("input").value = $("input").value || text;
    trouble(error.message);
  }
});
$("input").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
$("input").addEventListener("input", fit);

function askName() {
  $("name").value = name;
  $("name-dialog").showModal();
}
$("name-form").addEventListener("submit", () => {
  name = $("name").value.trim() || name || "Guest";
  localStorage.setItem("name", name);
  $("input").focus();
});
$("name-dialog").addEventListener("cancel", event => name || event.preventDefault());
$("rename").addEventListener("click", () => { $("room-dialog").close(); askName(); });

$("open-search").addEventListener("click", () => { $("search-dialog").showModal(); $("search").focus(); });
$("search-form").addEventListener("submit", async event => {
  event.preventDefault();
  if (!$("search").value) return;
  try {
    const { found } = await ask("search", { text: $("search").value });
    $("found").replaceChildren(...found.map(message => {
      const row = element("li"), button = element("button");
      button.type = "button";
      button.append(element("strong", "", message.name + " "), element("span", "", message.text.slice(0, 300)));
      button.addEventListener("click", () => {
        const item = document.querySelector(`#messages li[data-id="${message.id}"]`);
        if (!item) return;
        $("search-dialog").close();
        document.querySelectorAll("#messages .found").forEach(old => old.classList.remove("found"));
        item.classList.add("found");
        item.scrollIntoView({ block: "center" });
      });
      row.append(button);
      return row;
    }));
    if (!found.length) $("found").replaceChildren(element("li", "", "Nobody has said that."));
  } catch (error) {
    $("found").replaceChildren(element("li", "", error.message));
  }
});
document.querySelectorAll("#search-dialog .close").forEach(button => button.addEventListener("click", () => $("search-dialog").close()));

$("open-room").addEventListener("click", async () => {
  $("room-dialog").showModal();
  if (owner) showLink(await ask("link", {}));
});
function showLink({ token: guest }) {
  $("link").value = location.origin + location.pathname + "#" + guest;
}
$("renew").addEventListener("click", async () => showLink(await ask("link", { fresh: true })));
$("copy").addEventListener("click", async () => {
  $("link").select();
  await navigator.clipboard?.writeText($("link").value).catch(() => {});
});
document.querySelectorAll(".export").forEach(button => button.addEventListener("click", async () => {
  const form = button.dataset.form, answer = await fetch("api/export/" + form, { headers: headers() });
  if (!answer.ok) return trouble((await answer.json()).error);
  const link = element("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = form === "markdown" ? "room.md" : form === "training" ? "room-training.jsonl" : "room.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}));
$("skip").addEventListener("click", event => { event.preventDefault(); $("input").focus(); });    // the # is the secret's place

if (!token) trouble("This page needs a link with a secret in it; ask whoever runs the room for one.");
else {
  if (!name) askName();
  stay_connected();
}
