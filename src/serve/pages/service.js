// The server's API, as this page uses it.
export class Trouble extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function request(path, key, options = {}) {
  const headers = { ...options.headers };
  if (key) headers.Authorization = "Bearer " + key;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (trouble) {
    if (trouble.name === "AbortError") throw trouble;
    throw new Trouble("The server does not answer. Is loam serve still running?", 0);
  }
  if (answer.ok) return answer;
  let message = `The server answers ${answer.status}.`;
  try {
    message = (await answer.json()).error.message;
  } catch { /* no JSON: the status must do */ }
  throw new Trouble(message, answer.status, Number(answer.headers.get("Retry-After")) || 0);
}

export async function models(key) {
  return (await (await request("v1/models", key)).json()).data;
}

// Whole events out of a stream of bytes: the text behind "data: " of each.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const data = held.slice(0, end).split("\n").filter((l) => l.startsWith("data: ")).map((l) => l.slice(6)).join("\n");
      if (data) yield data;
    }
  }
}

// Calls onText with each piece; gives {reason, usage, timings}.
export async function chat(asked, key, signal, onText) {
  const answer = await request("v1/chat/completions", key, {
    method: "POST", signal, headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...asked, stream: true, stream_options: { include_usage: true } }),
  });
  const result = {};
  let whole = false;
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") {
      whole = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Trouble(chunk.error.message, 500);
    if (chunk.usage) result.usage = chunk.usage;
    if (chunk.timings) result.timings = chunk.timings;
    const choice = chunk.choices[0];
    if (choice?.delta?.content) onText(choice.delta.content);
    if (choice?.finish_reason) result.reason = choice.finish_reason;
  }
  if (!whole) throw new Trouble("The connection ended before the answer did.", 0);
  return result;
}
