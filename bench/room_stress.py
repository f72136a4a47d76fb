#!/usr/bin/env python3
"""A house under load: many rooms on Telegram's stand-in, services that fail, and a process that is killed again and again.

    python3 bench/room_stress.py build/loam                                              200 rooms, 10 members, 10,000 messages, 50 kills
    python3 bench/room_stress.py build/loam --rooms 5 --members 3 --messages 60 --kills 3

Says what was lost or doubled, how long the first answers took behind the service's own, and the memory. Exit status 1 where a message was
lost, or doubled other than in the chat by a kill, or where anything that was printed or logged holds a key. Python's standard library."""
import argparse
import collections
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "..", "tests", "support")
SECRETS = {"tg": "7654321:hUsh7q-hUsh7q-hUsh7q", "word": "sesame-hUsh7q", "key": "sk-hUsh7q-hUsh7q-0123456789"}


class Standin:
    def __init__(self, script):
        self.process = subprocess.Popen([sys.executable, "-B", os.path.join(SUPPORT, script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.url = "http://127.0.0.1:" + self.process.stdout.readline().split()[1]

    def tell(self, path, **what):
        request = urllib.request.Request(self.url + path, json.dumps(what).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=60))

    def ask(self, path):
        return json.load(urllib.request.urlopen(self.url + path, timeout=60))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def write_configuration(folder, arguments, services, api):
    lines = ["room: {name: Stress, rounds: 1, order: together, max_ai_turns: 1000}", "participants:"]
    for i in range(arguments.members):
        kind = f"openai: {{base_url: '{services.url}/v1', model: m{i}, key: key}}" if i % 2 == 0 else \
            f"anthropic: {{base_url: '{services.url}', model: m{i}, key: key}}"
        lines.append(f"  - {{name: Member{i}, {kind}, timeout: 30}}")
    lines.append(f"telegram: {{token: tg, secret: word, api_url: '{api.url}'}}")
    with open(os.path.join(folder, "room.yaml"), "w") as out:
        out.write("\n".join(lines) + "\n")
    with open(os.path.join(folder, "secrets"), "w") as out:
        out.write("".join(f"{name} = {value}\n" for name, value in SECRETS.items()))
    os.chmod(os.path.join(folder, "secrets"), 0o600)


class House:
    def __init__(self, program, folder):
        self.log = open(os.path.join(folder, "output"), "ab")
        self.process = subprocess.Popen([program, "room", os.path.join(folder, "room.yaml"), "--secrets", os.path.join(folder, "secrets"),
                                         "--telegram"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def memory(self):
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                return max(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
        except (OSError, ValueError):
            return 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def history(folder):
    database = sqlite3.connect(f"file:{folder}/room.db?mode=ro", uri=True)
    columns = [row[1] for row in database.execute("PRAGMA table_info(messages)")]
    rows = [dict(zip(columns, row)) for row in database.execute("SELECT * FROM messages ORDER BY id")]
    database.close()
    return rows


def wait_until_still(folder, api, seconds, still=6):
    """Until neither the history nor what was sent has grown for some seconds."""
    last, since, until = None, time.time(), time.time() + seconds
    while time.time() < until and time.time() - since < still:
        now = (len(history(folder)), len(api.ask("/control/sent")["sent"]))
        if now != last:
            last, since = now, time.time()
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--messages", type=int, default=10000, help="of people and AIs, in the history")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    api, services = Standin("telegram.py"), Standin("services.py")
    api.tell("/control/bot", token=SECRETS["tg"])
    services.tell("/control", key=SECRETS["key"], default={"text": "Answer {n}.", "delay": 0.02}, fail=10, seed=arguments.seed)
    said, kills, begun, most = [], 0, time.time(), 0
    with tempfile.TemporaryDirectory() as folder:
        write_configuration(folder, arguments, services, api)
        house = House(arguments.program, folder)
        for chat in range(1, arguments.rooms + 1):
            api.tell("/control/say", chat=chat, user=chat, text="/start " + SECRETS["word"])
        while len(api.ask("/control/sent")["sent"]) < arguments.rooms and time.time() - begun < 120:
            time.sleep(0.1)
        # Quiet: how long behind the service's is the first answer in the chat?
        quiet = []
        services.tell("/control", fail=0)
        for chat in range(1, min(20, arguments.rooms) + 1):
            text = f"quiet {chat}"
            said.append((chat, text))
            api.tell("/control/say", chat=chat, user=chat, text=text)
            deadline = time.time() + 30
            first = None
            while not first and time.time() < deadline:
                time.sleep(0.02)
                first = next((sent for sent in api.ask("/control/sent")["sent"] if sent["chat_id"] == chat and "Answer" in sent["text"]), None)
            ended = services.ask("/control/ended").get(re.sub(r".*Answer (\d+).*", r"\1", first["text"], flags=re.S))
            quiet.append(first["time"] - ended if ended else float("nan"))
            time.sleep(0.3)
        services.tell("/control", fail=10)
        api.tell("/control/fail", every=10, seed=arguments.seed)
        # Load.
        target = arguments.messages
        next_kill = target / (arguments.kills + 1)
        while True:
            count = len(history(folder))
            most = max(most, house.memory())
            if count >= target:
                break
            if kills < arguments.kills and count >= next_kill * (kills + 1):
                house.kill()
                kills += 1
                house = House(arguments.program, folder)
            if len(said) * (arguments.members + 1) < target + 200 * arguments.members:
                for _ in range(max(1, arguments.rooms // 20)):
                    chat = draw.randint(1, arguments.rooms)
                    text = f"message {len(said)}"
                    said.append((chat, text))
                    api.tell("/control/say", chat=chat, user=chat, text=text)
            elif time.time() - begun > 3000:
                break
            time.sleep(0.2)
        while kills < arguments.kills:
            time.sleep(0.5)
            house.kill()
            kills += 1
            house = House(arguments.program, folder)
        load = time.time() - begun
        api.tell("/control/fail", every=0)
        services.tell("/control", fail=0)
        wait_until_still(folder, api, 1200)
        most = max(most, house.memory())
        status = house.end()
        rows = history(folder)
        sent = api.ask("/control/sent")["sent"]
        state = api.ask("/control/state")
        output = open(os.path.join(folder, "output"), "rb").read().decode(errors="replace")
        leaked = [name for name in os.listdir(folder) if name != "secrets" and b"hUsh7q" in open(os.path.join(folder, name), "rb").read()]
    api.close()
    services.close()

    kept = collections.Counter(row["text"] for row in rows)
    lost = [text for _, text in said if not kept[text]]
    doubled = [text for _, text in said if kept[text] > 1]
    answers = [row for row in rows if row["text"].startswith("Answer")]
    answers_doubled = [text for text, times in collections.Counter(row["text"] for row in answers).items() if times > 1]
    by_trigger = collections.Counter((row["trigger"], row["name"], row.get("round")) for row in answers) if answers and "trigger" in answers[0] else {}
    asked_twice = [key for key, times in by_trigger.items() if times > 1]
    in_chat = collections.Counter(re.sub(r".*(Answer \d+\.).*", r"\1", entry["text"], flags=re.S) for entry in sent if "Answer" in entry["text"])
    unsent = [row["text"] for row in answers if not in_chat[row["text"]]]
    unknown = [text for text in in_chat if text not in kept]
    twice_in_chat = sum(times - 1 for times in in_chat.values())
    quiet.sort()
    print(f"{arguments.rooms} rooms, {arguments.members} members: {len(rows)} messages in the history, {len(said)} of people; "
          f"{kills} kills; one request in ten failed; {load:.0f} s")
    print(f"lost: {len(lost)}, doubled: {len(doubled)}; answers doubled in the history: {len(answers_doubled) + len(asked_twice)}; "
          f"not sent: {len(unsent)}; sent and not kept: {len(unknown)}; twice in a chat: {twice_in_chat} (allowed: {kills})")
    print(f"first answer behind the service's: median {quiet[len(quiet) // 2] * 1e3:.1f} ms, worst {quiet[-1] * 1e3:.1f} ms of {len(quiet)}")
    print(f"memory at most {most:.1f} MiB; exit status {status}; problems that the stand-in saw: {len(state['problems'])} "
          f"{state['problems'][:1]}; secrets printed or kept: {leaked or 'none'}")
    bad = lost or doubled or answers_doubled or asked_twice or unsent or unknown or twice_in_chat > kills or leaked or status != 0
    if bad:
        print("lost", lost[:5], "doubled", doubled[:5], asked_twice[:5], "unsent", unsent[:5], "unknown", unknown[:5], file=sys.stderr)
        print(output[-2000:] if not leaked else "(output not shown)", file=sys.stderr)
    return 1 if bad else 0


sys.exit(main())
