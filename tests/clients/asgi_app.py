"""An application for Hypercorn: the body comes back piece by piece as it arrives; WebSockets are echoed."""


async def app(scope, receive, send):
    """ASGI's entry point."""
    if scope["type"] == "http":
        await echo_body(receive, send)
    elif scope["type"] == "websocket":
        await echo_messages(receive, send)
    else:
        await lifespan(receive, send)


async def echo_body(receive, send):
    """One piece out for each that came in."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def echo_messages(receive, send):
    """Text and bytes."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})


async def lifespan(receive, send):
    """Nothing to start, nothing to end."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
