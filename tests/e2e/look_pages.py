"""The pages of look and learn in a browser: nothing is fetched, nothing complains, nothing runs over the window, words and figures can be read in
both colour schemes, and the interactive page of attention answers."""
import os, sys
from browser import Browser

HERE = os.getcwd()
KINDS = ["tokens", "logits", "norms", "neurons", "step", "weights", "memory", "losses"]

# The ratio of contrast of every text with what is behind it (WCAG 2.1), the least of all; texts of figures over the page's own background.
CONTRAST = """(() => {
const shade = c => { const [r, g, b] = c.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                     return .2126 * r + .7152 * g + .0722 * b; };
const parse = s => s.match(/[\\d.]+/g).map(Number).slice(0, 3);
const paper = shade(parse(getComputedStyle(document.body).backgroundColor));
let least = 99, at = '';
for (const e of document.querySelectorAll('h1,h2,p,td,th,dt,dd,caption,figcaption,svg text')) {
    const ink = shade(parse(e.namespaceURI.includes('svg') ? getComputedStyle(e).fill : getComputedStyle(e).color));
    const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
    if (ratio < least) { least = ratio; at = e.tagName + ' ' + e.textContent.slice(0, 40); }
}
return [least, at]; })()"""


def check(page, name):
    assert page.run("performance.getEntriesByType('resource').length") == 0, f"{name} fetches something"
    assert not page.complaints(), f"{name}: {page.complaints()}"
    for width, mobile in ((1280, False), (390, True)):
        page.size(width, 900, mobile)
        over = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{name} runs {over} pixels over a window of {width}"
    page.size(1280, 900)
    papers = []
    for scheme in ("light", "dark"):
        page.colours(scheme)
        least, at = page.run(CONTRAST)
        assert least >= 4.5, f"{name}, {scheme}: contrast {least:.2f} at '{at}'"
        papers.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert papers[0] != papers[1], f"{name} is the same in light and dark"


def figures(page, name, least):
    count = page.run("document.querySelectorAll('figure svg').length")
    assert count >= least, f"{name}: {count} figures"
    untitled = page.run("[...document.querySelectorAll('figure svg')].filter(s => !s.querySelector('title')?.textContent.trim()).length")
    assert untitled == 0, f"{name}: {untitled} figures without a title"
    cut = page.run("""[...document.querySelectorAll('figure svg')].flatMap(s => [...s.querySelectorAll('text')].filter(t => {
        const a = s.getBoundingClientRect(), b = t.getBoundingClientRect();
        return b.width && (b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1); })
        .map(t => t.textContent))""")
    assert not cut, f"{name}: texts that run out of their figure: {cut[:5]}"


def attention(browser):
    page = browser.page(f"file://{HERE}/large.html")
    page.until("document.body.dataset.ready == 'yes'")
    assert page.run("document.querySelectorAll('#grid canvas').length") == 144, "12 times 12 heads"
    assert page.run("document.querySelectorAll('#words button').length") == 64, "64 tokens"
    before = page.run("[document.getElementById('name').textContent, document.getElementById('map').toDataURL()]")
    page.click("#grid canvas:nth-of-type(30)")
    page.until(f"document.getElementById('map').toDataURL() != {before[1]!r}")
    page.run("(s => { s.value = 'layer'; s.dispatchEvent(new Event('change')); })(document.getElementById('mode'))")
    page.until("/mean|Mean|Layer/.test(document.getElementById('name').textContent)")
    said = page.run("document.getElementById('says').textContent")
    page.click("#words button:nth-child(40)")
    page.until(f"document.getElementById('says').textContent != {said!r}")
    frame = page.run("(() => { const t = performance.now(); for (let i = 0; i < 60; i++) { point(i, i >> 1); map(); words(); }"
                     " return (performance.now() - t) / 60; })()")
    print(f"attention, 12 layers, 12 heads, 64 tokens: {os.path.getsize('large.html')} bytes, {frame:.1f} ms a frame")
    check(page, "large.html")


def main():
    with Browser() as browser:
        for name in KINDS:
            page = browser.page(f"file://{HERE}/{name}.html")
            page.until("document.readyState == 'complete' && !!document.querySelector('h1')")
            figures(page, name, 1)
            check(page, name)
        page = browser.page(f"file://{HERE}/attention.html")
        page.until("document.body.dataset.ready == 'yes'")
        assert "<b>" not in page.run("document.getElementById('words').innerHTML"), "a token leaves its place"
        check(page, "attention")
        attention(browser)
        page = browser.page(f"file://{HERE}/lessons.html")
        page.until("document.readyState == 'complete' && !!document.querySelector('h1')")
        assert page.run("document.querySelectorAll('h2').length") == 14, "fourteen lessons"
        figures(page, "lessons", 20)
        check(page, "lessons")
        if len(sys.argv) > 1:    # to look at: pictures into that folder
            for name in KINDS + ["attention", "large", "lessons"]:
                page = browser.page(f"file://{HERE}/{name}.html")
                page.until("document.readyState == 'complete'")
                page.size(1100, 6000 if name == "lessons" else 1600)
                for scheme in ("light", "dark"):
                    page.colours(scheme)
                    page.shot(f"{sys.argv[1]}/{name}_{scheme}.png")


main()
