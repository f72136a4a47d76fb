"""The chat page in a real browser: see web_chat.sh. Arguments: none; LOAM is the program. With LOAM_SCREENSHOTS=DIR pictures are left there."""
import json, os, re, signal, subprocess, sys, time, urllib.request
from browser import Browser

LOAM = os.environ["LOAM"]
SHOTS = os.environ.get("LOAM_SCREENSHOTS")
GREETING = "Ahoy! What shall we do today?"


class Server:
    def __init__(self, *arguments, port=0):
        self.process = subprocess.Popen([LOAM, "serve", *arguments, "--port", str(port), "--threads", "1", "--temperature", "0"],
                                        stdout=subprocess.PIPE, stderr=open("serve.err", "ab"), text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), open("serve.err").read()
        self.port = int(self.url.rsplit(":", 1)[1])

    def metric(self, name):
        text = urllib.request.urlopen(self.url + "/metrics").read().decode()
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


def shot(page, name):
    if SHOTS:
        page.shot(os.path.join(SHOTS, name + ".png"))


def idle(page):
    page.until("document.getElementById('stop').hidden && !!document.querySelector('.message.assistant .stats')")


def last(page):
    return page.run("[...document.querySelectorAll('.message.assistant .words')].at(-1)?.innerText")


def send(page, text):
    page.run("document.getElementById('input').focus()")
    page.type(text)
    page.key("Enter")


def first_talk(page):
    page.until("document.getElementById('model').options.length == 2")
    assert page.run("document.activeElement.id") == "input", "one can begin to type at once"
    page.run("""window.seen = new Set(); new MutationObserver(() =>
        seen.add(document.querySelector('.message.assistant .words')?.innerText.length)).observe(
        document.getElementById('messages'), {childList: true, subtree: true, characterData: true})""")
    send(page, "Hello!")
    idle(page)
    assert last(page) == GREETING, last(page)
    assert re.search(r"\d+ tokens · [\d.]+ tokens/s", page.run("document.querySelector('.message.assistant .stats').innerText"))
    assert "tokens of context used" in page.run("document.getElementById('meter').innerText")
    assert page.run("document.getElementById('input').value") == ""


def kept(page):
    page.run("window.old = true")
    page.call("Page.reload")
    page.until("!window.old && document.querySelectorAll('.message').length == 2")
    assert last(page) == GREETING
    assert page.run("document.querySelector('#list li .open').innerText") == "Hello!"


def markdown_and_scripts(page):
    page.key("n", alt=True)
    page.until("!document.querySelector('.message')")
    send(page, "Show me code.")
    idle(page)
    assert page.run("document.querySelector('.message.assistant pre code')?.innerText") == "x = 1", page.run("document.body.innerText")
    assert page.run("document.querySelector('.message.assistant strong')?.innerText") == "bold"
    shot(page, "markdown")
    send(page, "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script>")
    idle(page)
    assert page.run("document.querySelectorAll('.message img, .message script').length") == 0
    assert page.run("window.hacked === undefined")
    assert "<img src=x" in page.run("document.querySelectorAll('.message.user .words')[1].innerText")


def edit_and_retry(page):
    page.key("n", alt=True)
    send(page, "Nonsense")
    idle(page)
    page.key("ArrowUp")    # in the empty box: the last message is edited
    page.until("document.activeElement.matches('.editing textarea')")
    shot(page, "edit")
    page.run("document.activeElement.select()")
    page.type("Who are you?")
    page.key("Enter")
    idle(page)
    page.until("document.querySelectorAll('.message').length == 2")
    assert last(page) == "I am Barnacle, the ship's parrot.", last(page)
    page.key("ArrowUp")
    page.until("document.activeElement.matches('.editing textarea')")
    page.key("Escape")
    assert page.run("document.activeElement.id") == "input" and page.run("document.querySelectorAll('.message').length") == 2
    page.run("[...document.querySelectorAll('.message.assistant .tools button')].find(b => b.innerText == 'Retry').click()")
    idle(page)
    assert last(page) == "I am Barnacle, the ship's parrot."
    assert page.run("document.querySelectorAll('.message').length") == 2


def settings(page):
    page.key("s", alt=True)
    page.until("document.getElementById('settings-dialog').open")
    shot(page, "settings")
    page.run("document.getElementById('max_tokens').focus()")
    page.type("3")
    page.run("document.getElementById('system').focus()")
    page.type("Be brief.")
    page.key("Escape")
    page.until("JSON.parse(localStorage.getItem('loam.settings'))?.max_tokens == 3")
    send(page, "Hello!")
    idle(page)
    assert "cut at the limit" in page.run("[...document.querySelectorAll('.stats')].at(-1).innerText")
    page.key("s", alt=True)
    page.click("#reset")
    page.click("#settings-dialog button.main")
    page.until("JSON.parse(localStorage.getItem('loam.settings'))?.max_tokens === undefined")


def stop(page, server):
    page.key("n", alt=True)
    page.run("document.getElementById('model').value = 'noise'; document.getElementById('model').dispatchEvent(new Event('change'))")
    send(page, "Go on and on.")
    page.until("document.querySelector('.message.assistant .words')?.innerText.length > 20 && !document.getElementById('stop').hidden")
    shot(page, "streaming")
    page.key("Escape")
    idle(page)
    assert "stopped" in page.run("document.querySelector('.message.assistant .stats').innerText")
    end = time.time() + 10
    while server.metric("loam_cancelled_total") < 1:
        assert time.time() < end, "the server did not hear of it"
        time.sleep(0.05)
    page.run("document.getElementById('model').value = 'parrot'; document.getElementById('model').dispatchEvent(new Event('change'))")


def export(page):
    page.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=os.getcwd())
    for kind, name in (("jsonl", "go-on-and-on.jsonl"), ("md", "go-on-and-on.md")):
        page.click("#export")
        page.until("document.getElementById('export-dialog').open")
        page.click(f"#export-dialog button[value={kind}]")
        end = time.time() + 10
        while not os.path.exists(name):
            assert time.time() < end, os.listdir()
            time.sleep(0.05)
    messages = json.loads(open("go-on-and-on.jsonl").read())["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"] and messages[0]["content"] == "Go on and on."
    assert open("go-on-and-on.md").read().startswith("# Go on and on.")
    page.click("#export-all")
    end = time.time() + 10
    while not os.path.exists("conversations.jsonl"):
        assert time.time() < end
        time.sleep(0.05)
    assert len(open("conversations.jsonl").readlines()) == page.run("document.querySelectorAll('#list li').length")


def conversations(page):
    count = page.run("document.querySelectorAll('#list li').length")
    assert count == 4, count
    page.run("[...document.querySelectorAll('#list .open')].at(-1).click()")
    page.until("document.querySelector('#list li:last-child').getAttribute('aria-current') == 'true'")
    assert last(page) == GREETING
    page.click("#list li:last-child .drop")
    page.until("document.getElementById('sure-dialog').open")
    page.key("Escape")
    page.until("!document.getElementById('sure-dialog').open")
    assert page.run("document.querySelectorAll('#list li').length") == count
    page.click("#list li:last-child .drop")
    page.until("document.getElementById('sure-dialog').open")
    page.click("#sure-dialog button[value=yes]")
    page.until(f"document.querySelectorAll('#list li').length == {count - 1}")


def keyboard(page):
    """Everything can be reached by Tab, and shows that it has the focus."""
    page.run("document.querySelector('#list .open').click()")
    page.run("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        page.key("Tab")
        reached.add(page.run("document.activeElement.id || document.activeElement.className || document.activeElement.textContent"))
        outline = page.run("document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle != 'none'")
        assert outline, page.run("document.activeElement.outerHTML")
    assert {"new", "open", "drop", "model", "export", "settings", "Copy", "Edit", "Retry", "input", "send", "skip"} <= reached, reached


def telephone(page):
    page.size(390, 844, mobile=True)
    page.until("getComputedStyle(document.getElementById('side')).visibility == 'hidden'")
    page.run("[...document.querySelectorAll('#list .open')][1].click()")
    page.until("!!document.querySelector('.message')")
    for scheme in ("light", "dark"):
        page.colours(scheme)
        shot(page, "telephone-" + scheme)
    page.colours("light")
    assert page.run("document.documentElement.scrollWidth") <= 390, "nothing is wider than the screen"
    for name in ("menu", "settings", "export", "send", "input", "model"):
        box = page.run(f"(() => {{ const r = document.getElementById('{name}').getBoundingClientRect(); return [r.left, r.right, r.height]; }})()")
        assert box[0] >= 0 and box[1] <= 390 and box[2] >= 40, (name, box)
    assert page.run("parseFloat(getComputedStyle(document.getElementById('input')).fontSize)") >= 16, "smaller makes telephones zoom"
    page.click("#menu")
    page.until("getComputedStyle(document.getElementById('side')).visibility == 'visible'")
    time.sleep(0.3)
    shot(page, "telephone-list")
    page.key("Escape")
    page.until("getComputedStyle(document.getElementById('side')).visibility == 'hidden'")
    page.click("#settings")
    page.until("document.getElementById('settings-dialog').open")
    shot(page, "telephone-settings")
    assert page.run("document.documentElement.scrollWidth") <= 390
    page.key("Escape")
    page.size(1200, 800)


def contrast(page):
    """Text against what is behind it: at least 4.5 to 1 (WCAG 2.1, AA), in both schemes."""
    measure = """(() => { const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (c) => rgb(c).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255,255,255)'; };
        let worst = [99, ''];
        for (const e of document.querySelectorAll('p, button, select, span, .words, label, h1, li')) {
            if (!e.checkVisibility() || e.disabled || !e.innerText?.trim()) continue;
            const a = light(getComputedStyle(e).color), b = light(behind(e)), r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (r < worst[0]) worst = [r, e.outerHTML.slice(0, 120)]; }
        return worst; })()"""
    for scheme in ("light", "dark"):
        page.colours(scheme)
        shot(page, "desktop-" + scheme)
        ratio, where = page.run(measure)
        assert ratio >= 4.5, (scheme, ratio, where)
    backs = []
    for theme in ("light", "dark"):
        backs.append(page.run(f"""(() => {{ document.documentElement.dataset.theme = '{theme}';    // in one, as the page sets it too
            return getComputedStyle(document.body).backgroundColor; }})()"""))
    assert backs[0] != backs[1], backs
    page.run("delete document.documentElement.dataset.theme")


def server_gone(page, server):
    server.stop()
    page.key("n", alt=True)
    send(page, "Hello!")
    page.until("!document.getElementById('trouble').hidden")
    assert "does not answer" in page.run("document.getElementById('trouble').innerText")
    shot(page, "trouble")
    again = Server("parrot", "noise", port=server.port)
    page.click("#trouble button")
    idle(page)
    assert last(page) == GREETING
    return again


def with_key(browser):
    with open("keys", "w") as file:
        file.write("sesame-hUsh7q\n")
    server = Server("parrot", "--keys", "keys")
    page = browser.page(server.url)
    page.until("document.getElementById('trouble').innerText.includes('asks for an API key')")
    page.click("#trouble button")
    page.until("document.activeElement.id == 'key'")
    page.type("sesame-hUsh7q")
    page.key("Enter")
    page.until("document.getElementById('model').value == 'parrot'")
    send(page, "Hello!")
    idle(page)
    assert last(page) == GREETING
    server.stop()


def main():
    with Browser() as browser:
        server = Server("parrot", "noise")
        page = browser.page(server.url)
        page.size(1200, 800)
        for step in (first_talk, kept, markdown_and_scripts, edit_and_retry, settings):
            step(page)
        stop(page, server)
        for step in (export, conversations, keyboard, telephone, contrast):
            step(page)
        assert not page.complaints(), page.complaints()
        server_gone(page, server).stop()
        with_key(browser)


main()
