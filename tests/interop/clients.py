"""Real clients against loam serve: the openai and anthropic packages, and curl. A scripted session; any difference is an AssertionError.

    python3 -m venv clients && clients/bin/pip install -r tests/interop/requirements-clients.txt
    clients/bin/python tests/interop/clients.py build/loam loam-quickstart

The model must be able to chat; what it says does not matter but for its being the same in every form (temperature 0).
"""
import json, os, signal, subprocess, sys, tempfile

import anthropic
import openai

loam, model = sys.argv[1:3]
QUESTION = "How many r's are in strawberry?"
KEY = "sk-hUsh7q-key"


def raises(kind, status, call, words=""):
    try:
        call()
    except kind as error:
        assert error.status_code == status, (error.status_code, status)
        assert words in str(error), error
        return error
    raise AssertionError(f"no {kind.__name__}")


def with_openai(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
    names = [m.id for m in client.models.list()]
    assert names == ["it"], names
    assert client.models.retrieve("it").id == "it"
    ask = dict(model="it", messages=[{"role": "developer", "content": "You help."}, {"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
               temperature=0, max_completion_tokens=60)

    whole = client.chat.completions.create(**ask)
    text = whole.choices[0].message.content
    assert text and whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    pieces, usage, reasons = [], None, []
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            reasons.append(choice.finish_reason)
    assert "".join(pieces) == text and len(pieces) > 3, pieces
    assert usage.completion_tokens == whole.usage.completion_tokens and reasons[-1] == whole.choices[0].finish_reason
    assert usage.prompt_tokens_details.cached_tokens > 0, "the same prompt a second time"

    with client.chat.completions.stream(**ask) as stream:    # the package's own helper takes the chunks apart and joins them again
        assert stream.get_final_completion().choices[0].message.content == text

    scored = client.chat.completions.create(logprobs=True, top_logprobs=4, **ask).choices[0].logprobs.content
    assert len(scored) >= whole.usage.completion_tokens - 1
    assert all(s.logprob <= 0 and len(s.top_logprobs) == 4 and s.top_logprobs[0].logprob >= s.logprob - 1e-6 for s in scored)
    assert b"".join(bytes(s.bytes) for s in scored).decode().startswith(text)

    several = client.chat.completions.create(**{**ask, "temperature": 1.0}, n=3, seed=7)
    again = client.chat.completions.create(**{**ask, "temperature": 1.0}, n=3, seed=7)
    assert [c.message.content for c in several.choices] == [c.message.content for c in again.choices] and len(several.choices) == 3

    stopped = client.chat.completions.create(stop=text[5:8], **ask)
    assert stopped.choices[0].message.content == text[:text.index(text[5:8])] and stopped.choices[0].finish_reason == "stop"

    done = client.completions.create(model="it", prompt=["Once upon", "The"], max_tokens=5, temperature=0, echo=True)
    assert [c.text.startswith(p) for c, p in zip(done.choices, ["Once upon", "The"])] == [True, True]
    assert done.usage.completion_tokens <= 10

    raises(openai.NotFoundError, 404, lambda: client.chat.completions.create(**{**ask, "model": "gpt-9"}), "gpt-9")
    bad = raises(openai.BadRequestError, 400, lambda: client.chat.completions.create(tools=[{"type": "function", "function": {"name": "f"}}], **ask), "tools")
    assert bad.param == "tools" and bad.type == "invalid_request_error"
    raises(openai.BadRequestError, 400, lambda: client.chat.completions.create(response_format={"type": "json_object"}, **ask), "response_format")
    raises(openai.BadRequestError, 400, lambda: client.chat.completions.create(**{**ask, "temperature": 9}), "temperature")
    long = raises(openai.BadRequestError, 400, lambda: client.completions.create(model="it", prompt="word " * 200000, max_tokens=5))
    assert long.code == "context_length_exceeded"
    wrong = openai.OpenAI(base_url=url + "/v1", api_key="nobody", max_retries=0)
    raises(openai.AuthenticationError, 401, lambda: wrong.chat.completions.create(**ask), "key")
    return text


def with_anthropic(url, text):
    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
    ask = dict(model="it", system="You help.", messages=[{"role": "user", "content": QUESTION}], max_tokens=60,
               extra_body={"temperature": 0})    # the package's newest form has no such argument any more
    whole = client.messages.create(**ask)
    assert whole.content[0].text == text and whole.stop_reason in ("end_turn", "max_tokens"), (whole, text)
    assert whole.usage.input_tokens == client.messages.count_tokens(**{k: ask[k] for k in ("model", "system", "messages")}).input_tokens

    with client.messages.stream(**ask) as stream:
        assert "".join(stream.text_stream) == text
        final = stream.get_final_message()
    assert final.usage.output_tokens == whole.usage.output_tokens and final.stop_reason == whole.stop_reason
    kinds = [event.type for event in client.messages.create(stream=True, **ask)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "content_block_delta" in kinds, kinds

    stopped = client.messages.create(stop_sequences=["@@", text[5:8]], **ask)
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == text[5:8], stopped
    raises(anthropic.NotFoundError, 404, lambda: client.messages.create(**{**ask, "model": "claude"}), "claude")
    raises(anthropic.BadRequestError, 400, lambda: client.messages.create(tools=[{"name": "f", "input_schema": {"type": "object"}}], **ask), "tools")
    wrong = anthropic.Anthropic(base_url=url, api_key="nobody", max_retries=0)
    raises(anthropic.AuthenticationError, 401, lambda: wrong.messages.create(**ask))
    assert [m.id for m in client.models.list()] == ["it"]


def curl(url, path, *more, key=KEY):
    command = ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {key}", *more, url + path]
    body, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rsplit("\n", 1)
    return int(status), body


def with_curl(url, text):
    json_type = ("-H", "Content-Type: application/json")
    ask = {"messages": [{"role": "system", "content": "You help."}, {"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 60}
    status, body = curl(url, "/v1/chat/completions", *json_type, "-d", json.dumps(ask))
    assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == text
    status, body = curl(url, "/v1/chat/completions", "-N", *json_type, "-d", json.dumps({**ask, "stream": True}))
    assert status == 200 and body.rstrip().endswith("data: [DONE]") and body.startswith("data: {")
    assert curl(url, "/health")[0] == 200
    assert curl(url, "/v1/models", key="nobody")[0] == 401
    assert curl(url, "/v1/chat/completions", "-d", json.dumps(ask))[0] == 415    # what curl calls a form
    status, body = curl(url, "/tokenize", *json_type, "-d", json.dumps({"content": text}))
    assert status == 200
    status, body = curl(url, "/detokenize", *json_type, "-d", json.dumps({"tokens": json.loads(body)["tokens"]}))
    assert status == 200 and json.loads(body)["content"] == text
    status, body = curl(url, "/apply-template", *json_type, "-d", json.dumps({"messages": ask["messages"]}))
    assert status == 200 and QUESTION in json.loads(body)["prompt"]
    status, body = curl(url, "/metrics")
    assert status == 200 and "loam_generated_tokens_total" in body
    with tempfile.NamedTemporaryFile("w", suffix=".json") as large:    # curl asks first here (Expect: 100-continue)
        large.write(json.dumps({"prompt": "x" * (20 << 20)}))
        large.flush()
        assert curl(url, "/v1/completions", *json_type, "--data-binary", "@" + large.name)[0] == 413


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write(KEY + "\n")
        keys.flush()
        server = subprocess.Popen([loam, "serve", "it=" + model, "--port", "0", "--keys", keys.name], stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.DEVNULL)
        try:
            url = server.stdout.readline().strip()
            text = with_openai(url)
            with_anthropic(url, text)
            with_curl(url, text)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
    print(f"openai {openai.__version__}, anthropic {anthropic.__version__}, curl: all as expected. It said: {text}")


main()
