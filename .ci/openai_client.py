"""The OpenAI library, unmodified, asks for a song in every format, whole and streamed; libsndfile reads the finished files."""

import io
import json
import sys
import urllib.request

import openai
import soundfile

address = sys.argv[1]
client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
SECONDS = 2.0


def get(path):
    return urllib.request.urlopen(f"{address}{path}").read()


formats = client.models.list().data[0].model_extra["formats"]
for name in formats:
    order = dict(
        model="heartstream",
        voice="alloy",
        input="[Verse]\nThe window clears",
        instructions="piano,calm",
        response_format=name,
        extra_body={"seed": 3, "seconds": SECONDS},
    )
    whole = client.audio.speech.create(**order).content
    with client.audio.speech.with_streaming_response.create(**order) as answer:
        streamed = b"".join(answer.iter_bytes())
    assert streamed == whole, f"{name}: the streamed song is another one"
    song = json.loads(get("/v1/songs?limit=1"))["songs"][0]
    assert (song["state"], song["format"]) == ("finished", name), song
    file = get(f"/v1/songs/{song['id']}/audio")
    assert len(file) == len(whole), f"{name}: the file is as long as the stream"
    samples, rate = soundfile.read(io.BytesIO(file))
    assert (samples.shape, rate) == ((int(SECONDS * 48_000), 2), 48_000), f"{name}: {samples.shape} at {rate}"
print(f"OpenAI {openai.__version__}, libsndfile {soundfile.__libsndfile_version__}: {', '.join(formats)}")
