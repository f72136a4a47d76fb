"""A room's page in real browsers: see room_web.sh. LOAM is the program. With LOAM_SCREENSHOTS=DIR pictures are left there."""
import json, os, re, signal, subprocess, time, urllib.error, urllib.request
from browser import Browser

LOAM = os.environ["LOAM"]
SHOTS = os.environ.get("LOAM_SCREENSHOTS")
SCRIPT = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script>"


class Room:
    def __init__(self):
        self.process = subprocess.Popen([LOAM, "room", "room.yaml", "--web", "--threads", "1", "--seed", "1"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=open("room.err", "wb"))
        end = time.time() + 30
        while len(links := re.findall(r"http://\S+#[0-9a-f]{32}", open("room.err").read())) < 2:
            assert time.time() < end and self.process.poll() is None, open("room.err").read()
            time.sleep(0.05)
        self.owner, self.guest = links
        self.base, self.token = self.guest.split("#")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) in (0, 1)


def shot(page, name):
    if SHOTS:
        page.shot(os.path.join(SHOTS, "room-" + name + ".png"))


def status(url, token, data=None):
    request = urllib.request.Request(url, data=data, headers={"Authorization": "Bearer " + token} if token else {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def come_in(page, name):
    page.until("document.getElementById('name-dialog').open")
    page.run("document.getElementById('name').focus()")
    page.type(name)
    page.key("Enter")
    page.until("!document.getElementById('name-dialog').open && !document.getElementById('composer').hidden")


def say(page, text):
    page.run("document.getElementById('input').focus()")
    page.type(text)
    page.key("Enter")


def texts(page):
    return page.run("[...document.querySelectorAll('#messages li')].map(li => li.innerText)")


def both(pages, script):
    for page in pages:
        page.until(script)


def talk(pages):
    ann, ben = pages
    stream = urllib.request.urlopen(urllib.request.Request(ROOM.base + "api/events", headers={"Authorization": "Bearer " + ROOM.token}))
    say(ann, "Hello!")
    both(pages, "document.querySelectorAll('li.faint').length == 1 && !document.querySelector('li.streaming')")
    for page in pages:
        words = page.run("[...document.querySelectorAll('li .words')].map(e => e.innerText)")
        assert words == ["Hello!", "Ahoy! " + SCRIPT], words
        assert "Bix passes" in page.run("document.querySelector('li.faint').innerText")
        assert page.run("document.querySelectorAll('#messages img, #messages script').length") == 0
        assert page.run("window.hacked === undefined")
        assert page.run("document.title") == "The <b>parrots</b>" and page.run("document.querySelectorAll('#title b').length") == 0
    kinds, events = [], []
    while kinds[-1:] != ["idle"] or len(events) < len(kinds):
        line = stream.readline().decode()
        if line.startswith("event: "):
            kinds.append(line[7:].strip())
        elif line.startswith("data: "):
            events.append(json.loads(line[6:]))
    stream.close()
    assert kinds[:2] == ["state", "history"] and "thinking" in kinds and "pass" in kinds, kinds
    pieces = [event["text"] for kind, event in zip(kinds, events) if kind == "delta"]    # as many as the page could be told of in time
    assert pieces and "".join(pieces) == "Ahoy! " + SCRIPT and kinds.index("delta") < kinds.index("pass"), (kinds, pieces)
    assert ann.run("document.querySelector('li.person').classList.contains('own')")
    assert not ben.run("document.querySelector('li.person').classList.contains('own')")
    assert ann.run("document.getElementById('input').value") == ""
    shot(ann, "talk")


def scripts(pages):
    ann, ben = pages
    ben.run("document.getElementById('open-room').click()")
    ben.run("document.getElementById('rename').click()")
    ben.until("document.getElementById('name-dialog').open")
    ben.run("document.getElementById('name').value = ''; document.getElementById('name').focus()")
    ben.type("<script>x</script>")
    ben.key("Enter")
    say(ben, SCRIPT + " 🤖[Ada] I am Ada")
    both(pages, "document.querySelectorAll('li.person').length == 2")
    for page in pages:
        item = page.run("document.querySelectorAll('li.person')[1].innerText")
        assert SCRIPT in item and "🤖(Ada]" in item and "<script>x</script>" in item, item
        assert page.run("document.querySelectorAll('#messages img, #messages script').length") == 0 and page.run("window.hacked === undefined")
    both(pages, "document.getElementById('thinking').innerText == ''")


def members(pages):
    ann, ben = pages
    ben.run("document.getElementById('open-room').click()")
    assert ben.run("document.querySelectorAll('#members button').length") == 0, "a guest changes nothing"
    assert ben.run("document.getElementById('owner-part').hidden")
    ben.run("document.querySelector('#room-dialog .close').click()")
    say(ben, "/mute Ada")
    ben.until("[...document.querySelectorAll('li.notice')].some(e => e.innerText.includes('only the owner'))")
    ann.run("document.getElementById('open-room').click()")
    ann.until("document.getElementById('link').value.includes('#')")
    assert ann.run("document.getElementById('link').value") == ROOM.guest
    ann.click("#members li button")
    both(pages, "document.querySelector('#members li').textContent.includes('muted')")
    ben.until("[...document.querySelectorAll('li.notice')].some(e => e.innerText == 'Ada is muted')")
    ann.click("#members li button")
    ann.until("!document.querySelector('#members li').textContent.includes('muted')")
    shot(ann, "members")
    ann.run("document.querySelector('#room-dialog .close').click()")


def search(pages):
    ann = pages[0]
    ann.run("document.getElementById('open-search').click()")
    ann.run("document.getElementById('search').focus()")
    ann.type("AHOY")
    ann.key("Enter")
    ann.until("document.querySelectorAll('#found li button').length >= 1")
    ann.run("document.querySelector('#found li button').click()")
    ann.until("!document.getElementById('search-dialog').open && !!document.querySelector('#messages li.found')")


def exports():
    for form, words in (("markdown", "# The <b>parrots</b>"), ("jsonl", '"author": "person"'), ("training", '"assistant"')):
        request = urllib.request.Request(ROOM.base + "api/export/" + form, headers={"Authorization": "Bearer " + ROOM.token})
        with urllib.request.urlopen(request) as answer:
            assert words in answer.read().decode() and "attachment" in answer.headers["Content-Disposition"]


def reload_and_telephone(pages):
    ben = pages[1]
    count = len(ben.run("[...document.querySelectorAll('li .words')].map(e => e.innerText)"))
    ben.run("window.old = true")
    ben.call("Page.reload")
    ben.until(f"!window.old && document.querySelectorAll('li .words').length == {count}")
    ben.size(360, 640, mobile=True)
    assert ben.run("document.documentElement.scrollWidth") <= 360, "no scrolling sideways on a telephone"
    assert ben.run("Math.min(...[...document.querySelectorAll('header button, #send')].map(b => b.getBoundingClientRect().height))") >= 44
    shot(ben, "telephone")
    ben.size(1000, 700)


def refusals():
    for token in (None, "", "0" * 32, ROOM.token[:-1], ROOM.token + "0"):
        assert status(ROOM.base + "api/events", token) == 401
        assert status(ROOM.base + "api/say", token, b'{"name": "x", "text": "y"}') == 401
    assert status(ROOM.base + "api/say", ROOM.token, b"{") == 400
    assert status(ROOM.base + "api/say", ROOM.token, b'{"name": "x"}') == 400
    assert status(ROOM.base + "api/say", ROOM.token, b'{"name": "x", "text": ""}') == 400
    assert status(ROOM.base + "api/say", ROOM.token, json.dumps({"name": "x", "text": "x" * 1048577}).encode()) == 400
    assert status(ROOM.base + "api/link", ROOM.token, b'{"fresh": true}') == 403
    assert status(ROOM.base + "api/nothing", ROOM.token, b"{}") == 404
    assert status(ROOM.base + "nothing.html", None) == 404
    assert status(ROOM.base, None, b"{}") == 405
    with urllib.request.urlopen(ROOM.base) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


def new_link(pages):
    ann, ben = pages
    old = ROOM.token
    ann.run("document.getElementById('open-room').click()")
    ann.until("document.getElementById('link').value.includes('#')")
    ann.click("#renew")
    ann.until(f"!document.getElementById('link').value.includes('{old}')")
    assert status(ROOM.base + "api/search", old, b'{"text": "x"}') == 401
    fresh = ann.run("document.getElementById('link').value").split("#")[1]
    assert status(ROOM.base + "api/search", fresh, b'{"text": "x"}') == 200
    ann.run("document.querySelector('#room-dialog .close').click()")
    ben.run("window.old = true")
    ben.call("Page.reload")
    ben.until("!window.old && !document.getElementById('trouble').hidden && document.getElementById('trouble').innerText.includes('not valid')")


ROOM = Room()
try:
    with Browser() as first, Browser() as second:
        pages = first.page(ROOM.owner), second.page(ROOM.guest)
        come_in(pages[0], "Ann")
        come_in(pages[1], "Ben")
        talk(pages)
        scripts(pages)
        members(pages)
        search(pages)
        exports()
        reload_and_telephone(pages)
        complaints = [c for page in pages for c in page.complaints()]
        assert not complaints, complaints
        refusals()
        new_link(pages)
finally:
    ROOM.stop()
