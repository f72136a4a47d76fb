// What the browser keeps: conversations (one entry each, so that none is lost when another is written) and settings.
const PREFIX = "loam.conversation.";

export function load(id) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + id));
  } catch {
    return null;
  }
}

export function all() {
  const found = [];
  for (let i = 0; i < localStorage.length; i++) {
    const key = localStorage.key(i);
    if (key.startsWith(PREFIX)) {
      const conversation = load(key.slice(PREFIX.length));
      if (conversation && Array.isArray(conversation.messages)) found.push(conversation);
    }
  }
  return found.sort((a, b) => b.updated - a.updated);
}

// False where the browser has no room left.
export function save(conversation) {
  try {
    localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
    return true;
  } catch {
    return false;
  }
}

export function remove(id) {
  localStorage.removeItem(PREFIX + id);
}

export const isConversation = (key) => key === null || key.startsWith(PREFIX);

export function create(model) {
  const id = Date.now().toString(36) + Math.floor(Math.random() * 1e9).toString(36);
  return { id, title: "", system: "", model, messages: [], updated: Date.now() };
}

export function settings() {
  try {
    return JSON.parse(localStorage.getItem("loam.settings")) || {};
  } catch {
    return {};
  }
}

export function saveSettings(values) {
  try {
    localStorage.setItem("loam.settings", JSON.stringify(values));
  } catch { /* they last as long as the page then */ }
}

// As loam finetune reads it: one line a conversation.
export function asJsonl(conversations) {
  return conversations.filter((c) => c.messages.length).map((c) => JSON.stringify({
    messages: (c.system ? [{ role: "system", content: c.system }] : [])
      .concat(c.messages.map(({ role, content }) => ({ role, content }))),
  }) + "\n").join("");
}

export function asMarkdown(conversation) {
  const names = { user: "You", assistant: conversation.model || "Assistant" };
  let text = `# ${conversation.title || "Conversation"}\n`;
  if (conversation.system) text += `\n> ${conversation.system.replaceAll("\n", "\n> ")}\n`;
  for (const { role, content } of conversation.messages) text += `\n**${names[role]}**\n\n${content}\n`;
  return text;
}
