#!/usr/bin/env python3
"""A stand-in for services of OpenAI's and of Anthropic's kind: POST /v1/chat/completions and /v1/messages, streamed or not.

What it does is told to it by POST /control, a JSON object of any of

    key        what callers must send; null: anything goes
    default    how every request is answered that no queue has something for
    queue      {MODEL: [how, how, ...]}: the next answers for a model, one after the other
    fail       one request in so many fails (429, 500, 503 or a cut connection by turns)
    seed       of what is drawn

where `how` is an object of any of

    text       the answer; "{last}" in it stands for the last user message, "{n}" for the number of the request
    status, retry_after, reason, raw, type     an answer that is none
    delay, between                             seconds before the head, and between pieces
    cut        the connection ends after so many pieces
    endless    pieces without end
    silent     nothing is ever answered
    bad        after the first piece comes an event that is this
    error      after the first piece comes an error event with this text
    finish     finish_reason or stop_reason
    plain      answered as a whole although a stream was asked for
    usage      false: none is told

GET /control gives {"count": ..., "requests": [...]}, the last 200 with headers and body."""
import asyncio
import json
import random
import time

import standin

settings = {"key": None, "default": {"text": "Hello from {n}."}, "queue": {}, "fail": 0, "seed": 1}
requests = []
ended = {}                # when the answer to each request was through
count = 0
drawn = random.Random(1)


async def control(request):
    global count, drawn
    if request.method == "POST":
        given = request.json()
        settings.update(given)
        if "seed" in given:
            drawn = random.Random(given["seed"])
        if given.get("forget"):
            requests.clear()
            count = 0
        return 200, {}
    if request.path.endswith("/ended"):
        return 200, ended
    return 200, {"count": count, "requests": requests}


def key_of(request):
    bearer = request.headers.get("authorization", "")
    return bearer[7:] if bearer.startswith("Bearer ") else request.headers.get("x-api-key")


def refusal(anthropic, status, reason):
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
    if anthropic:
        return {"type": "error", "error": {"type": kinds.get(status, "invalid_request_error" if status < 500 else "api_error"),
                                           "message": reason}}
    return {"error": {"message": reason, "type": "invalid_request_error" if status < 500 else "server_error", "param": None, "code": None}}


def check(request, body, anthropic):
    """The services' own demands; None where all is well."""
    if settings["key"] is not None and key_of(request) != settings["key"]:
        return 401, f"Incorrect API key provided: {key_of(request)}. You can find your API key in your account."
    if body is None:
        return 400, "We could not parse the JSON body of your request."
    if not body.get("model"):
        return 400, "you must provide a model parameter"
    messages = body.get("messages")
    if not messages:
        return 400, "messages: at least one message is required"
    if anthropic:
        if "anthropic-version" not in request.headers:
            return 400, "anthropic-version: header is required"
        if not isinstance(body.get("max_tokens"), int):
            return 400, "max_tokens: Field required"
        roles = [message["role"] for message in messages]
        if any(role not in ("user", "assistant") for role in roles):
            return 400, "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter"
        if roles[0] != "user" or any(a == b for a, b in zip(roles, roles[1:])):
            return 400, "messages: roles must alternate between \"user\" and \"assistant\""
    if any(not message["content"] for message in messages):
        return 400, "messages: text content blocks must be non-empty"
    return None


def pieces_of(text):
    """Cut at places that words do not have."""
    return [text[at:at + 5] for at in range(0, len(text), 5)]


def tokens(body):
    return sum(len(message["content"]) for message in body["messages"]) // 4, 7


def openai_event(model, delta, finish=None):
    return b"data: " + json.dumps({"id": "c-1", "object": "chat.completion.chunk", "model": model,
                                   "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"


def anthropic_event(kind, **fields):
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **fields}).encode() + b"\n\n"


def begin_events(body, how, anthropic):
    if anthropic:
        usage = {"input_tokens": tokens(body)[0], "output_tokens": 1} if how.get("usage", True) else {}
        return [anthropic_event("message_start", message={"role": "assistant", "content": [], "usage": usage}),
                anthropic_event("content_block_start", index=0, content_block={"type": "text", "text": ""}), anthropic_event("ping")]
    return [openai_event(body["model"], {"role": "assistant", "content": ""})]


def piece_event(body, piece, anthropic):
    if anthropic:
        return anthropic_event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    return openai_event(body["model"], {"content": piece})


def end_events(body, how, anthropic):
    if anthropic:
        usage = {"output_tokens": tokens(body)[1]} if how.get("usage", True) else {}
        return [anthropic_event("content_block_stop", index=0),
                anthropic_event("message_delta", delta={"stop_reason": how.get("finish", "end_turn")}, usage=usage),
                anthropic_event("message_stop")]
    events = [openai_event(body["model"], {}, how.get("finish", "stop"))]
    if body.get("stream_options", {}).get("include_usage") and how.get("usage", True):
        prompt, answer = tokens(body)
        events.append(b"data: " + json.dumps({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": answer}}).encode() + b"\n\n")
    return events + [b"data: [DONE]\n\n"]


def whole(body, how, text, anthropic):
    prompt, answer = tokens(body)
    if anthropic:
        return {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}],
                "stop_reason": how.get("finish", "end_turn"), "usage": {"input_tokens": prompt, "output_tokens": answer}}
    return {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                                                      "finish_reason": how.get("finish", "stop")}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": answer}}


async def stream(request, body, how, text, anthropic):
    request.head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
    for event in begin_events(body, how, anthropic):
        request.chunk(event)
    pieces = pieces_of(text)
    at = 0
    while at < len(pieces) or how.get("endless"):
        if how.get("cut") == at:
            await request.writer.drain()
            request.cut()
            return
        request.chunk(piece_event(body, pieces[at % len(pieces)], anthropic))
        if "bad" in how:
            request.chunk(b"data: " + how["bad"].encode() + b"\n\n")
        if "error" in how:
            request.chunk(anthropic_event("error", error={"type": "overloaded_error", "message": how["error"]}) if anthropic else
                          b"data: " + json.dumps({"error": {"message": how["error"]}}).encode() + b"\n\n")
        at += 1
        await request.writer.drain()
        if how.get("between"):
            await asyncio.sleep(how["between"])
    for event in end_events(body, how, anthropic):
        request.chunk(event)
    request.writer.write(b"0\r\n\r\n")


def choose(body):
    queue = settings["queue"].get(body["model"])
    if queue:
        return queue.pop(0)
    if settings["fail"] and drawn.randrange(settings["fail"]) == 0:
        return drawn.choice([{"status": 429, "retry_after": 0, "reason": "slow down"}, {"status": 500}, {"status": 503},
                             {**settings["default"], "cut": 0}])
    return settings["default"]


async def answer(request):
    global count
    anthropic = request.path.endswith("/v1/messages")
    if request.method != "POST" or not (anthropic or request.path.endswith("/v1/chat/completions")):
        return 404, b"<html>not found</html>", {"Content-Type": "text/html"}
    count += 1
    number = count
    body = request.json()
    entry = {"path": request.path, "headers": request.headers, "body": body, "number": number}
    requests.append(entry)
    del requests[:-200]
    refused = check(request, body, anthropic)
    if refused:
        return refused[0], refusal(anthropic, *refused)
    how = choose(body)
    if how.get("delay"):
        await asyncio.sleep(how["delay"])
    if how.get("silent"):
        await asyncio.sleep(3600)
    if "raw" in how:
        return how.get("status", 200), how["raw"].encode() * how.get("times", 1), {"Content-Type": how.get("type", "text/html")}
    if how.get("status", 200) != 200:
        headers = {"Retry-After": how["retry_after"]} if "retry_after" in how else {}
        return how["status"], refusal(anthropic, how["status"], how.get("reason", "the stand-in was told to")), headers
    text = how["text"].replace("{last}", body["messages"][-1]["content"]).replace("{n}", str(number))
    if how.get("plain") or not body.get("stream"):
        return 200, whole(body, how, text, anthropic)
    await stream(request, body, how, text, anthropic)
    ended[number] = time.time()
    return None


standin.run(answer, control)
