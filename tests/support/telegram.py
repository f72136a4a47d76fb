#!/usr/bin/env python3
"""A stand-in for Telegram's Bot API (core.telegram.org/bots/api), as faithful as the bot can tell, that misbehaves on demand.

Methods: getMe, getUpdates, setWebhook, deleteWebhook, getWebhookInfo, sendMessage, editMessageText, deleteMessage, sendChatAction, with
the API's own checks, texts of refusal and limits. POST /control/... with a JSON object:

    bot       {token, username, reads_all, revoked}                      what the bot is
    chat      {id, type, title, is_forum, blocked, rate: [messages, seconds]}    a chat; made or changed
    say       {chat, user, text, ...}      a message; `name`, `last`, `date`, `topic`, `reply_to` (a message id or a message), `edit` (id),
              `sender_chat`, `entities`, `with` (further members: photo, ...); {"times": n} repeats it with {i} in the text
    update    an update as it is (an update_id of its own is kept)
    migrate   {chat, to}                   the group becomes a supergroup
    again     {id}                         an update that was delivered comes once more
    shuffle   {on}                         batches come in reverse order
    fault     {method, kind, times, seconds, status, description}    what the next calls of a method meet, in turn:
              status (refused with it), half (half of the answer), lost (done, but the connection ends without an answer), delay, garbage,
              retry (429 with retry_after = seconds), no_entities (400 where entities are given)
    poller    {}                           a second program asks for updates: whoever asks now gets a 409
    forget    {}                           the lists below are emptied
    fail      {every, seed}                one sendMessage or getUpdates in so many fails (429, 502, half, lost)

GET /control/sent     what was sent, in order: {chat_id, text, entities, message_thread_id, message_id, time}
GET /control/state    {polls, confirmed, pending, actions, deleted, webhook, violations, problems}

A check that fails because of a mistake of the bot (entities outside the text, sending while told to wait) is noted in `problems`."""
import asyncio
import json
import random
import time
import urllib.parse

import standin

bot = {"token": "1234567:hUsh7q-stand-in", "id": 7000001, "username": "loam_test_bot", "reads_all": False, "revoked": False}
chats = {}
updates = []              # not confirmed yet
delivered = {}            # by id, for `again`
log = {"sent": [], "actions": [], "deleted": [], "problems": [], "edited": []}
state = {"polls": 0, "confirmed": 0, "violations": 0}
faults = {}               # method: list
webhook = {"url": "", "secret": ""}
options = {"shuffle": False, "every": 0}
drawn = random.Random(1)
next_update = 500000001
next_message = 1
poller = None             # the long poll that waits
changed = None            # an asyncio.Event


def ok(result):
    return 200, {"ok": True, "result": result}


def no(status, description, **parameters):
    answer = {"ok": False, "error_code": status, "description": description}
    if parameters:
        answer["parameters"] = parameters
    headers = {"Retry-After": parameters["retry_after"]} if "retry_after" in parameters else {}
    return status, answer, headers


def units(text):
    return len(text.encode("utf-16-le")) // 2


# --- Updates ---

def add_update(update):
    global next_update
    if "update_id" not in update:
        update["update_id"] = next_update
        next_update += 1
    updates.append(update)
    delivered[update["update_id"]] = update
    if len(delivered) > 20000:
        delivered.pop(next(iter(delivered)))
    changed.set()


def chat_of(number):
    chat = chats.setdefault(number, {"id": number, "type": "private" if number > 0 else "group", "title": f"Group {number}"})
    return chat


def shown(chat):
    kept = {key: chat[key] for key in ("id", "type", "is_forum") if key in chat}
    if chat["type"] == "private":
        kept["first_name"] = chat.get("title", "Somebody")
    else:
        kept["title"] = chat["title"]
    return kept


def make_message(given):
    global next_message
    chat = chat_of(given["chat"])
    message = {"message_id": next_message, "date": given.get("date", int(time.time())), "chat": shown(chat),
               "from": {"id": given.get("user", 1), "is_bot": given.get("is_bot", False), "first_name": given.get("name", "Ann")}}
    next_message += 1
    if given.get("last"):
        message["from"]["last_name"] = given["last"]
    for key in ("text", "entities", "sender_chat", "caption"):
        if key in given:
            message[key] = given[key]
    if "topic" in given:
        message.update(message_thread_id=given["topic"], is_topic_message=True)
    if "reply_to" in given:
        reply = given["reply_to"]
        if isinstance(reply, int):
            reply = next((sent for sent in log["sent"] if sent["message_id"] == reply), None)
            reply = {"message_id": reply["message_id"], "from": {"id": bot["id"], "is_bot": True, "first_name": "loam"},
                     "chat": shown(chat), "date": message["date"], "text": reply["text"]}
        message["reply_to_message"] = reply
    message.update(given.get("with", {}))
    return message


async def get_updates(request, given):
    global poller
    if webhook["url"]:
        return no(409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first")
    if poller is not None and not poller.done():
        poller.set_result("conflict")    # the earlier one ends
    poller = asyncio.get_running_loop().create_future()
    mine = poller
    state["polls"] += 1
    offset = given.get("offset", 0)
    if offset < 0:
        del updates[:max(0, len(updates) + offset)]
    elif offset > 0:
        for update in [update for update in updates if update["update_id"] < offset]:
            updates.remove(update)
            state["confirmed"] += 1
    until = time.monotonic() + min(50, given.get("timeout", 0))
    while not updates and time.monotonic() < until and not mine.done():
        changed.clear()
        waiting = asyncio.ensure_future(changed.wait())
        await asyncio.wait([waiting, mine], timeout=max(0, until - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if request.writer.is_closing():
            return None
    if mine.done():
        return no(409, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running")
    batch = sorted(updates, key=lambda update: update["update_id"])[:given.get("limit", 100)]
    return ok(batch[::-1] if options["shuffle"] else batch)


async def bring():
    """Updates brought to the webhook, again and again until each is taken."""
    while True:
        if not webhook["url"] or not updates:
            changed.clear()
            await changed.wait()
            continue
        update = updates[0]
        parts = urllib.parse.urlsplit(webhook["url"])
        status = 0
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            body = json.dumps(update).encode()
            writer.write((f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
                          f"X-Telegram-Bot-Api-Secret-Token: {webhook['secret']}\r\nContent-Length: {len(body)}\r\n"
                          "Connection: close\r\n\r\n").encode() + body)
            line = await asyncio.wait_for(reader.readline(), 10)
            status = int(line.split()[1])
            writer.close()
        except (OSError, IndexError, ValueError, asyncio.TimeoutError):
            pass
        if status == 200:
            if update in updates:
                updates.remove(update)
            state["confirmed"] += 1
        else:
            await asyncio.sleep(0.05)


# --- Sending ---

def check_entities(text, entities):
    """None, or what is wrong with them. Half a surrogate pair is no place."""
    wide = text.encode("utf-16-le")
    places = [(entity.get("offset", -1), entity.get("length", 0), entity.get("type"), entity) for entity in entities]
    kinds = {"bold", "italic", "underline", "strikethrough", "spoiler", "blockquote", "code", "pre", "text_link", "text_mention"}
    for offset, length, kind, entity in places:
        if kind not in kinds:
            return f"unknown kind {kind}"
        if offset < 0 or length <= 0 or offset + length > len(wide) // 2:
            return "ENTITY_BOUNDS_INVALID"
        for place in (offset, offset + length):
            if 0 < place < len(wide) // 2 and 0xDC00 <= int.from_bytes(wide[2 * place:2 * place + 2], "little") < 0xE000:
                return "ENTITY_BOUNDS_INVALID: within a character"
        if kind == "text_link" and not entity.get("url"):
            return "a link without an address"
    for offset, length, kind, _ in places:
        for other, other_length, other_kind, _ in places:
            if (offset, length, kind) == (other, other_length, other_kind):
                continue
            apart = other >= offset + length or offset >= other + other_length
            inside = (offset <= other and other + other_length <= offset + length) or (other <= offset and offset + length <= other + other_length)
            if not apart and kind in ("code", "pre") and other_kind != "blockquote":
                return f"{kind} and {other_kind} overlap"
            if not apart and not inside:
                return f"{kind} and {other_kind} cross each other"
    return "too many" if len(entities) > 100 else None


def problem(text):
    log["problems"].append(text)


def check_chat(given):
    chat = chats.get(given.get("chat_id"))
    if chat is None:
        return None, no(400, "Bad Request: chat not found")
    if chat.get("migrated"):
        return None, no(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat["migrated"])
    if chat.get("blocked"):
        return None, no(403, "Forbidden: bot was blocked by the user" if chat["type"] == "private" else
                        "Forbidden: bot was kicked from the supergroup chat")
    topic = given.get("message_thread_id")
    if topic is not None and (not chat.get("is_forum") or topic in chat.get("closed", [])):
        return None, no(400, "Bad Request: message thread not found")
    return chat, None


def check_rate(chat):
    now = time.monotonic()
    if now < chat.get("wait_until", 0):
        state["violations"] += 1
        problem(f"chat {chat['id']} was sent something {chat['wait_until'] - now:.2f} s before it may be")
        return no(429, f"Too Many Requests: retry after {int(chat['wait_until'] - now) + 1}", retry_after=int(chat["wait_until"] - now) + 1)
    if "rate" in chat:
        most, seconds = chat["rate"]
        times = chat.setdefault("times", [])
        times[:] = [at for at in times if at > now - seconds]
        if len(times) >= most:
            wait = max(1, int(times[0] + seconds - now + 0.999))
            chat["wait_until"] = now + wait - 0.05
            state["violations"] += 1
            return no(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        times.append(now)
    return None


def send_message(given):
    global next_message
    chat, refused = check_chat(given)
    if refused:
        return refused
    text = given.get("text", "")
    if not text.strip():
        return no(400, "Bad Request: message text is empty")
    if units(text) > 4096:
        problem("a message is too long")
        return no(400, "Bad Request: message is too long")
    wrong = check_entities(text, given.get("entities") or [])
    if wrong:
        problem(f"entities: {wrong}: {text!r} {given.get('entities')!r}")
        return no(400, f"Bad Request: can't parse entities: {wrong}")
    refused = check_rate(chat)
    if refused:
        return refused
    message = {"message_id": next_message, "date": int(time.time()), "chat": shown(chat), "text": text,
               "from": {"id": bot["id"], "is_bot": True, "first_name": "loam", "username": bot["username"]}}
    next_message += 1
    log["sent"].append({"chat_id": chat["id"], "text": text, "entities": given.get("entities") or [], "message_id": message["message_id"],
                        "message_thread_id": given.get("message_thread_id"), "time": time.time()})
    return ok(message)


def edit_message(given):
    chat, refused = check_chat(given)
    if refused:
        return refused
    for sent in log["sent"]:
        if sent["message_id"] == given.get("message_id") and sent["chat_id"] == chat["id"]:
            if sent["text"] == given.get("text"):
                return no(400, "Bad Request: message is not modified")
            sent["text"] = given["text"]
            return ok({"message_id": sent["message_id"], "text": sent["text"], "chat": shown(chat)})
    return no(400, "Bad Request: message to edit not found")


def chat_action(given):
    chat, refused = check_chat(given)
    if refused:
        return refused
    log["actions"].append({"chat_id": chat["id"], "action": given.get("action"), "time": time.time()})
    return ok(True)


def delete_message(given):
    log["deleted"].append(given)
    return ok(True)


def set_webhook(given):
    webhook.update(url=given.get("url", ""), secret=given.get("secret_token", ""))
    changed.set()
    return ok(True)


def drop_webhook(given):
    webhook.update(url="", secret="")
    return ok(True)


def get_me(given):
    return ok({"id": bot["id"], "is_bot": True, "first_name": "loam", "username": bot["username"], "can_join_groups": True,
               "can_read_all_group_messages": bot["reads_all"], "supports_inline_queries": False})


METHODS = {"getme": get_me, "sendmessage": send_message, "editmessagetext": edit_message, "sendchataction": chat_action,
           "deletemessage": delete_message, "setwebhook": set_webhook, "deletewebhook": drop_webhook,
           "getwebhookinfo": lambda given: ok({"url": webhook["url"], "pending_update_count": len(updates)})}


# --- Faults ---

def take_fault(method):
    for name in (method, "*"):
        waiting = faults.get(name, [])
        if waiting:
            fault = waiting[0]
            fault["times"] = fault.get("times", 1) - 1
            if fault["times"] <= 0:
                waiting.pop(0)
            return fault
    if options["every"] and method in ("sendmessage", "getupdates") and drawn.randrange(options["every"]) == 0:
        return drawn.choice([{"kind": "retry", "seconds": 0}, {"kind": "status", "status": 502}, {"kind": "half"}, {"kind": "refuse"}])
    return None


async def carry_out(request, method, given):
    if method == "getupdates":
        return await get_updates(request, given)
    if method not in METHODS:
        return no(404, "Not Found: method not found")
    return METHODS[method](given)


async def spoil(request, method, given, fault):
    kind = fault["kind"]
    if kind == "delay":
        await asyncio.sleep(fault["seconds"])
        return await carry_out(request, method, given)
    if kind == "retry":
        wait = fault.get("seconds", 1)
        chat = chats.get(given.get("chat_id"))
        if chat is not None and method == "sendmessage":
            chat["wait_until"] = time.monotonic() + wait - 0.02
        return no(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
    if kind == "status":
        status = fault["status"]
        if status == 502:
            return 502, b"<html><head><title>502 Bad Gateway</title></head></html>", {"Content-Type": "text/html"}
        return no(status, fault.get("description", "Bad Request: the stand-in was told to"))
    if kind == "no_entities" and not given.get("entities"):
        return await carry_out(request, method, given)
    if kind == "no_entities":
        return no(400, "Bad Request: can't parse entities: the stand-in was told to")
    if kind == "garbage":
        return 200, b"{\"ok\": tru"
    if kind == "refuse":
        request.cut()
        return None
    answer = await carry_out(request, method, given)
    if answer is None:
        return None
    if kind == "half":
        body = json.dumps(answer[1]).encode()
        request.head(answer[0], {"Content-Type": "application/json", "Content-Length": len(body)})
        request.writer.write(body[:len(body) // 2])
        await request.writer.drain()
    request.cut()    # half, lost
    return None


def read_parameters(request):
    given = dict(request.query)
    if "json" in request.headers.get("content-type", ""):
        body = request.json()
        if not isinstance(body, dict):
            return None
        given.update(body)
    elif request.body:
        given.update(urllib.parse.parse_qsl(request.body.decode()))
    for key in ("chat_id", "offset", "timeout", "limit", "message_thread_id", "message_id"):
        if isinstance(given.get(key), str):
            given[key] = int(given[key])
    if isinstance(given.get("entities"), str):
        given["entities"] = json.loads(given["entities"])
    return given


async def answer(request):
    parts = request.path.split("/")
    if len(parts) != 3 or not parts[1].startswith("bot"):
        return no(404, "Not Found")
    token, method = parts[1][3:], parts[2].lower()
    if token != bot["token"] or bot["revoked"]:
        return no(401, "Unauthorized") if ":" in token else no(404, "Not Found")
    given = read_parameters(request)
    if given is None:
        return no(400, "Bad Request: can't parse the parameters")
    fault = take_fault(method)
    return await (spoil(request, method, given, fault) if fault else carry_out(request, method, given))


# --- Control ---

def say(given):
    for i in range(given.get("times", 1)):
        message = make_message({**given, "text": given["text"].replace("{i}", str(i))} if "text" in given else given)
        if "edit" in given:
            message.update(message_id=given["edit"], edit_date=int(time.time()))
            add_update({"edited_message": message})
        else:
            add_update({"message": message})


def migrate(given):
    old = chat_of(given["chat"])
    chats[given["to"]] = {"id": given["to"], "type": "supergroup", "title": old["title"]}
    if given.get("quiet") is None:
        add_update({"message": make_message({"chat": given["chat"], "with": {"migrate_to_chat_id": given["to"]}})})
        add_update({"message": make_message({"chat": given["to"], "with": {"migrate_from_chat_id": given["chat"]}})})
    old["migrated"] = given["to"]


async def control(request):
    global drawn, poller
    what = request.path.split("/")[-1]
    if request.method == "GET":
        if what == "sent":
            return 200, {"sent": log["sent"]}
        return 200, {**state, **log, "pending": len(updates), "webhook": webhook["url"]}
    given = request.json()
    if what == "bot":
        bot.update(given)
    elif what == "chat":
        chat_of(given["id"]).update(given)
    elif what == "say":
        say(given)
    elif what == "update":
        add_update(given)
    elif what == "migrate":
        migrate(given)
    elif what == "again":
        add_update(dict(delivered[given["id"]]) if given.get("id") else dict(delivered[max(delivered)]))
    elif what == "shuffle":
        options["shuffle"] = given["on"]
    elif what == "fault":
        faults.setdefault(given["method"].lower(), []).append(given)
    elif what == "fail":
        options["every"] = given["every"]
        drawn = random.Random(given.get("seed", 1))
    elif what == "poller":
        if poller is not None and not poller.done():
            poller.set_result("conflict")
        faults.setdefault("getupdates", []).append({"kind": "status", "status": 409, "times": given.get("times", 1),
                                                    "description": "Conflict: terminated by other getUpdates request; make sure that only "
                                                                   "one bot instance is running"})
    elif what == "forget":
        for entries in log.values():
            entries.clear()
        faults.clear()
        state.update(violations=0)
    else:
        return 404, {}
    return 200, {"next_update": next_update, "next_message": next_message}


class Tasks:
    started = False


async def first(handler, request):
    global changed
    if not Tasks.started:
        Tasks.started = True
        changed = asyncio.Event()
        Tasks.bring = asyncio.ensure_future(bring())
    return await handler(request)


standin.run(lambda request: first(answer, request), lambda request: first(control, request))
