"""What the guides name must be there: paths of the repository, functions and types of the library, options of the program, other guides.

    python3 guide_names.py ROOT PROGRAM"""
import glob, os, re, subprocess, sys

root, program = sys.argv[1:]
FOREIGN = {"--preset", "--test-dir", "--output-on-failure"}    # of cmake and ctest


def read(path):
    return open(path, encoding="utf-8").read()


names = [command for command in re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", subprocess.run([program, "--help"], capture_output=True, text=True).stdout, re.M)]
options = {"--version"}
for name in names:
    options |= set(re.findall(r"--[a-z][a-z0-9-]*", subprocess.run([program, *name.split(), "--help"], capture_output=True, text=True).stdout))
for path in glob.glob(f"{root}/bench/*.*"):    # scripts have options of their own
    options |= set(re.findall(r"--[a-z][a-z0-9-]*", read(path)))
sources = "".join(read(path) for folder in ("src", "include", "tests") for path in
                  glob.glob(f"{root}/{folder}/**/*.[ch]", recursive=True))
words = set(re.findall(r"\b(?:lm|loam|command)_\w+", sources))
files = {os.path.basename(path) for folder in ("src", "tests", "bench", "include", "cmake") for path in glob.glob(f"{root}/{folder}/**/*", recursive=True)}

failed = 0
for path in sorted(glob.glob(f"{root}/docs/*.md")) + [f"{root}/README.md"]:
    text, name = read(path), os.path.relpath(path, root)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    wrong = []
    for span in re.findall(r"`([^`\n]+)`", prose):
        for place in re.findall(r"(?<![\w/.-])(?:src|tests|bench|docs|include|cmake|recipes)/[\w./*-]*", span):
            if not glob.glob(os.path.join(root, place.rstrip("."))) and "NAME" not in place:
                wrong.append(place)
        if re.fullmatch(r"[a-z_0-9]+\.[ch]", span) and span not in files:
            wrong.append(span)
        wrong += [word for word in re.findall(r"\b(?:lm|loam)_\w+", span) if word not in words and not word.endswith("_")]
    wrong += [option for option in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", prose)) if option not in options | FOREIGN]
    for link in re.findall(r"\]\(([\w.-]+\.md)\)", text):
        if not os.path.exists(os.path.join(os.path.dirname(path), link)):
            wrong.append(link)
    for word in sorted(set(wrong)):
        print(f"FAILED: {name}: names {word}, which is not there", file=sys.stderr)
        failed = 1
    if name.startswith("docs/") and name != "docs/README.md" and f"({os.path.basename(path)})" not in read(f"{root}/docs/README.md"):
        print(f"FAILED: docs/README.md does not list {name}", file=sys.stderr)
        failed = 1
sys.exit(failed)
