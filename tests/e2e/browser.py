"""A headless Chromium, driven over its debugging pipe with nothing but the standard library.

    with Browser() as browser:
        page = browser.page("http://127.0.0.1:8080/")
        page.until("document.title == 'loam'")
        page.type("hello"), page.key("Enter")
"""
import base64, json, os, select, shutil, subprocess, tempfile, time

KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "ArrowUp": (38, ""), "ArrowDown": (40, "")}


class Browser:
    def __enter__(self):
        self.folder = tempfile.mkdtemp()
        to_browser, self.to = os.pipe()
        self.back, from_browser = os.pipe()
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))

        def wire():    # the browser reads 3 and writes 4
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3), os.dup2(b, 4)
            os.set_inheritable(3, True), os.set_inheritable(4, True)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
             "--remote-debugging-pipe", f"--user-data-dir={self.folder}/profile", "about:blank"],
            preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=open(self.folder + "/log", "wb"))
        os.close(to_browser), os.close(from_browser)
        self.number, self.held, self.answers, self.events = 0, b"", {}, []
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except Exception:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self, seconds):
        if not select.select([self.back], [], [], seconds)[0]:
            return
        got = os.read(self.back, 1 << 20)
        if not got:
            raise RuntimeError("the browser has ended: " + open(self.folder + "/log").read()[-2000:])
        *whole, self.held = (self.held + got).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.append(message)

    def call(self, method, session=None, seconds=60, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        end = time.time() + seconds
        while self.number not in self.answers:
            if time.time() > end:
                raise TimeoutError(method)
            self.read(0.5)
        answer = self.answers.pop(self.number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def page(self, url):
        return Page(self, url)


class Page:
    def __init__(self, browser, url):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")
        self.call("Page.navigate", url=url)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def run(self, script):
        """The value of a JavaScript expression; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def until(self, script, seconds=30):
        end = time.time() + seconds
        while not (value := self.look(script)):
            assert time.time() < end, f"waited for {script}; the page says:\n{self.run('document.body.innerText')[:1500]}"
            time.sleep(0.02)
        return value

    def look(self, script):
        try:
            return self.run(script)
        except (AssertionError, RuntimeError):    # nothing of the kind is there yet, or the page is being left for another
            return None

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, name, alt=False, shift=False):
        code, text = KEYS[name] if name in KEYS else (ord(name.upper()), "" if alt else name)
        event = dict(key=name, code=name if name in KEYS else "Key" + name.upper(), windowsVirtualKeyCode=code,
                     modifiers=(1 if alt else 0) + (8 if shift else 0))
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def click(self, selector):
        """A real click at the middle of what the selector finds."""
        box = self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}}); "
                       "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile)
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def colours(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self):
        """What the console has against the page."""
        self.browser.read(0)
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.exceptionThrown":
                found.append(event["params"]["exceptionDetails"].get("exception", {}).get("description", "exception"))
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"] + " " + event["params"]["entry"].get("url", ""))
        return found
