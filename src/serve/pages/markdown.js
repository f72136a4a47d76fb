// Markdown, the part of it that models write, turned into nodes. Text only ever becomes text: nothing is parsed as HTML.
const INLINE = /(`+)([\s\S]+?)\1|\*\*([^*\s](?:[\s\S]*?[^*\s])?)\*\*|\*([^*\s](?:[^*]*[^*\s])?)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;

function element(name, content) {
  const node = document.createElement(name);
  if (content !== undefined) node.append(content);
  return node;
}

function inline(text, into) {
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    into.append(text.slice(at, found.index));
    at = found.index + found[0].length;
    if (found[1]) {
      into.append(element("code", found[2]));
    } else if (found[3] !== undefined) {
      into.append(inline(found[3], element("strong")));
    } else if (found[4] !== undefined) {
      into.append(inline(found[4], element("em")));
    } else {
      const link = element("a", found[5]);
      link.href = found[6];
      link.rel = "noopener noreferrer";
      link.target = "_blank";
      into.append(link);
    }
  }
  into.append(text.slice(at));
  return into;
}

function paragraph(lines) {
  const node = element("p");
  lines.forEach((line, i) => {
    if (i) node.append(element("br"));
    inline(line, node);
  });
  return node;
}

const ITEM = /^(\s*)([-*+]|\d{1,4}[.)])\s+(.*)$/;

// One block from lines[at] on: its node and where the next begins.
function block(lines, at) {
  const line = lines[at], fence = /^\s*(```+|~~~+)/.exec(line);
  if (fence) {
    let end = at + 1;
    while (end < lines.length && !lines[end].trim().startsWith(fence[1])) end++;
    return [element("pre", element("code", lines.slice(at + 1, end).join("\n"))), end + 1];
  }
  const heading = /^#{1,6}\s+(.*)$/.exec(line);
  if (heading) return [inline(heading[1], element("h3")), at + 1];
  if (line.startsWith(">")) {
    let end = at;
    while (end < lines.length && lines[end].startsWith(">")) end++;
    const quote = element("blockquote");
    render(lines.slice(at, end).map((l) => l.replace(/^> ?/, "")).join("\n"), quote);
    return [quote, end];
  }
  const first = ITEM.exec(line);
  if (first) {
    const list = element(/\d/.test(first[2]) ? "ol" : "ul");
    if (list.tagName === "OL") list.start = parseInt(first[2], 10);
    let end = at;
    for (let item; end < lines.length && (item = ITEM.exec(lines[end])); end++) list.append(inline(item[3], element("li")));
    return [list, end];
  }
  let end = at;
  while (end < lines.length && lines[end].trim() && !(end > at && /^\s*(```|~~~|#{1,6}\s|>)/.test(lines[end])) && !(end > at && ITEM.test(lines[end]))) end++;
  return [paragraph(lines.slice(at, end)), end];
}

export function render(text, into) {
  const lines = text.split("\n");
  for (let at = 0; at < lines.length;) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const [node, next] = block(lines, at);
    into.append(node);
    at = next;
  }
}
