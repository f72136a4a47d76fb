"""Runs the commands of a guide and holds what they print against what the guide says they print.

    python3 guides.py GUIDE.md...        in the present folder; the program's folder comes first in PATH

In a guide, a block of commands is one that stands below a comment:

    <!-- example -->         ```sh block: must end with 0
    <!-- example fails -->   must not
    <!-- example long -->    only where LOAM_LONG is set
    <!-- output -->          ```text block: all that the block of commands above prints, both streams in their order

In what is printed, "…" stands for anything within a line, and on a line of its own for any lines. Every block is a bash script of its
own in the same folder. GUIDES_PORT takes the place of the port 8080. Time for each guide is printed."""
import os, re, subprocess, sys, time

MARK = re.compile(r"<!-- (example(?: fails| long)*|output) -->\s*\n```[a-z]*\n(.*?)^```", re.S | re.M)


def pattern(text, whole=True):
    parts = []
    for line in text.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(re.escape(line.rstrip()).replace("…", ".*?") + r"[ \t]*\n")
    return re.compile("".join(parts) + (r"\Z" if whole else ""))


def first_wrong(wanted, said):
    """The line of `wanted` up to which there is something like it in what was said."""
    lines = wanted.splitlines()
    for count in range(1, len(lines) + 1):
        if not pattern("\n".join(lines[:count]), False).match(said):
            return f"line {count}, '{lines[count - 1]}'"
    return "its end"


def blocks(path):
    """(line, words, commands, what they print or None)"""
    text, found = open(path, encoding="utf-8").read().replace("8080", os.environ.get("GUIDES_PORT", "8080")), []
    assert text.count("<!-- example") + text.count("<!-- output -->") == len(MARK.findall(text)), f"{path}: a mark without its block"
    for match in MARK.finditer(text):
        words = match[1].split()
        if words[0] == "output":
            assert found and found[-1][3] is None, f"{path}: an output without its commands"
            found[-1][3] = match[2]
        else:
            found.append([text.count("\n", 0, match.start()) + 3, words, match[2], None])
    return found


def run(path, line, words, commands, wanted):
    end = subprocess.run(["stdbuf", "-oL", "bash", "-c", commands], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    said = end.stdout.decode("utf-8", "replace")
    if (end.returncode != 0) != ("fails" in words):
        return f"{path}:{line}: ends with {end.returncode}:\n{commands}\nprints\n{said}"
    said += "" if said.endswith("\n") or not said else "\n"
    if wanted is not None and not pattern(wanted).match(said):
        return f"{path}:{line}: prints not what the guide says, from {first_wrong(wanted, said)} on:\n{commands}\nprints\n{said}\nwanted\n{wanted}"
    return None


def main():
    failed = 0
    for path in sys.argv[1:]:
        begun, count = time.time(), 0
        for line, words, commands, wanted in blocks(path):
            if "long" in words and not os.environ.get("LOAM_LONG"):
                continue
            complaint = run(path, line, words, commands, wanted)
            count += 1
            if complaint:
                print("FAILED: " + complaint, file=sys.stderr)
                failed = 1
                break
        print(f"{os.path.basename(path)}: {count} blocks, {time.time() - begun:.1f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
