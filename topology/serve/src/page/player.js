// Player: the audio element of a song, and its samples for the pictures.

// A song that is written is a stream without an end; one that is over is a file that can be searched.
function setSource(audio, song) {
  const over = ["finished", "cancelled", "failed", "interrupted"].includes(song.state);
  const source = `/v1/songs/${song.id}/audio${over ? "" : "?live"}`;
  if (audio.getAttribute("src") === source) return;
  if (audio.getAttribute("src") && !audio.paused && !audio.ended) {
    // It plays: the stream goes on to its end, and then the file takes its place.
    audio.addEventListener("ended", () => setSource(audio, song), { once: true });
    return;
  }
  audio.preload = over ? "metadata" : "none";
  audio.src = source;
}

// Reads a WAV of 16 bits while it is written; calls `take` with each second of the two channels' mean.
async function readSamples(id, signal, take) {
  const answer = await fetch(`/v1/songs/${id}/audio`, { signal });
  if (!answer.ok) return;
  const reader = answer.body.getReader();
  let rest = new Uint8Array(0);
  let inData = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    let bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest);
    bytes.set(value, rest.length);
    if (!inData) {
      const place = dataPlace(bytes);
      if (place < 0) {
        rest = bytes;
        continue;
      }
      inData = true;
      bytes = bytes.subarray(place);
    }
    const whole = bytes.length - (bytes.length % 4);
    const view = new DataView(bytes.buffer, bytes.byteOffset, whole);
    const samples = new Float32Array(whole / 4);
    for (let i = 0; i < samples.length; i++) {
      samples[i] = (view.getInt16(4 * i, true) + view.getInt16(4 * i + 2, true)) / 65536;
    }
    rest = bytes.slice(whole);
    take(samples);
  }
}

// The mean of both channels of a song that is over, in any format.
async function decoded(id) {
  const answer = await fetch(`/v1/songs/${id}/audio`);
  const audio = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(await answer.arrayBuffer());
  const [left, right] = [audio.getChannelData(0), audio.getChannelData(audio.numberOfChannels - 1)];
  return left.map((sample, place) => (sample + right[place]) / 2);
}

// Where the samples of a WAV begin, or -1 while its head is not there.
function dataPlace(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let place = 12;
  while (place + 8 <= bytes.length) {
    const name = String.fromCharCode(...bytes.subarray(place, place + 4));
    if (name === "data") return place + 8;
    place += 8 + view.getUint32(place + 4, true);
  }
  return -1;
}
