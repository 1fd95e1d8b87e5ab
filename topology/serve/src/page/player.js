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
  const { currentTime, ended } = audio;
  audio.preload = over ? "metadata" : "none";
  audio.src = source;
  // Who paused the stream goes on in the file where it was.
  if (over && currentTime > 0 && !ended) {
    audio.addEventListener("loadedmetadata", () => (audio.currentTime = currentTime), { once: true });
  }
}

// A song is decoded again when it has grown by this share: all of it costs some twenty times once.
const GROWTH = 1.05;
const BETWEEN_LOOKS = 500; // milliseconds

// Reads a song while it is written, in any format; calls `take` with the mean of both channels as it comes.
async function readSamples(id, signal, take) {
  const answer = await fetch(`/v1/songs/${id}/audio`, { signal });
  if (!answer.ok) return;
  const reader = answer.body.getReader();
  const chunks = [];
  let [bytes, decodedBytes, taken, looked] = [0, 0, 0, 0];
  for (let ended = false; !ended; ) {
    const { done, value } = await reader.read();
    ended = done;
    if (value) {
      chunks.push(value);
      bytes += value.length;
    }
    const due = bytes > decodedBytes * GROWTH && performance.now() > looked + BETWEEN_LOOKS;
    if (!ended && !due) continue;
    // The head alone is no sound yet.
    const samples = await decoded(new Blob(chunks)).catch(() => null);
    looked = performance.now();
    decodedBytes = bytes;
    if (!samples || samples.length <= taken) continue;
    take(samples.subarray(taken));
    taken = samples.length;
  }
}

// The mean of both channels of a song that is over.
async function samplesOf(id) {
  const answer = await fetch(`/v1/songs/${id}/audio`);
  return decoded(await answer.blob());
}

async function decoded(blob) {
  const audio = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(await blob.arrayBuffer());
  const [left, right] = [audio.getChannelData(0), audio.getChannelData(audio.numberOfChannels - 1)];
  return left.map((sample, place) => (sample + right[place]) / 2);
}
