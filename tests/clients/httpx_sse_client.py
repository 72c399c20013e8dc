"""Follows a stream with httpx-sse, which leaves connecting again to its user, and prints each event as a line of JSON.

    httpx_sse_client.py URL header|query

The second argument says how the stream is resumed: by Last-Event-ID or by ?last_event_id=. It stops at the end of the
answer or at 204.
"""

import json
import sys
import time

import httpx
import httpx_sse


def follow(client, url, way):
    last_id, retry_ms = "", 1000
    while True:
        headers = {"Last-Event-ID": last_id} if last_id and way == "header" else {}
        params = {"last_event_id": last_id} if last_id and way == "query" else {}
        try:
            with httpx_sse.connect_sse(client, "GET", httpx.URL(url).copy_merge_params(params), headers=headers) as source:
                if source.response.status_code == 204:
                    return
                for event in source.iter_sse():
                    last_id = event.id or last_id
                    retry_ms = event.retry or retry_ms
                    print(json.dumps({"type": event.event, "data": event.data, "id": event.id}), flush=True)
                return
        except httpx.TransportError:
            time.sleep(retry_ms / 1000)


with httpx.Client(timeout=30) as client:
    follow(client, *sys.argv[1:])
