"""Seconds from an order to its first byte of sound, one song after the other: .ci/first_byte.py ADDRESS [SONGS].

Prints the least, the median and the most of them, for WAV and for Opus. It judges nothing: that depends on the machine.
"""

import json
import statistics
import sys
import time
import urllib.request

# Bytes before the first sound: the head of a WAV with its words, and the two header pages of an Opus file, are shorter.
HEAD = 1024

address, songs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"}, method=method)
    return urllib.request.urlopen(request)


for form in ["wav", "opus"]:
    taken = []
    for seed in range(songs):
        start = time.monotonic()
        order = {"tags": "piano", "lyrics": "[Verse]\nThe window clears", "seed": seed, "seconds": 12, "format": form}
        song = json.load(call("POST", "/v1/songs", order))["id"]
        with call("GET", f"/v1/songs/{song}/audio") as audio:
            audio.read(HEAD)
            taken.append(time.monotonic() - start)
            while audio.read(1 << 16):
                pass
    print(f"{form}: first sound after {min(taken):.2f} s at least, {statistics.median(taken):.2f} s in the median, {max(taken):.2f} s at most")
