"""What the stand-ins share: a small HTTP/1.1 server on asyncio, and a control endpoint.

    async def answer(request): return 200, {"ok": True}
    run(answer)                # prints "port N", serves until its standard input ends

Only Python's standard library. An answer is (status, value), (status, value, headers) or None where the handler has written (or cut off)
by itself. Values are sent as JSON, bytes as they are."""
import asyncio
import json
import sys
import urllib.parse

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
           429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}


class Request:
    def __init__(self, method, target, headers, body, writer):
        self.method, self.headers, self.body, self.writer = method, headers, body, writer
        parts = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(parts.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query))
        self.ended = False

    def json(self):
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            return None

    def head(self, status, headers):
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"] + [f"{name}: {value}" for name, value in headers.items()]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def chunk(self, data):
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def cut(self):
        """The connection ends here, whatever was promised."""
        self.ended = True
        self.writer.close()


async def read_request(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = {}
    for line in lines[1:]:
        if line:
            name, value = line.split(":", 1)
            headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body, writer)


async def send(request, answer):
    status, value, headers = (*answer, {})[:3]
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    request.head(status, {"Content-Type": "application/json", **headers, "Content-Length": len(body)})
    request.writer.write(body)
    await request.writer.drain()


def run(answer, control):
    async def connection(reader, writer):
        try:
            while True:
                request = await read_request(reader, writer)
                handler = control if request.path.startswith("/control") else answer
                result = await handler(request)
                if result is not None:
                    await send(request, result)
                if request.ended:
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass    # the other side has gone, or the stand-in ends
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(connection, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0, backlog=4096,
                                            limit=1 << 16)
        print("port", server.sockets[0].getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1(4096) or (ended.done() or ended.set_result(None)))
        await ended

    asyncio.run(main())
