// Songs: a card for each, which follows its song while it is written.

const cards = new Map();
const OVER = ["finished", "cancelled", "failed", "interrupted"];
const WORDS = {
  queued: "Queued", writing: "Writing", paused: "Paused", finished: "Finished",
  cancelled: "Cancelled", failed: "Failed", interrupted: "Interrupted",
};

// Seconds of a song whose picture is drawn from all its samples at once.
const LONGEST_PICTURE = 300;

class Card {
  constructor(song) {
    this.song = song;
    this.root = $("song").content.firstElementChild.cloneNode(true);
    this.root.dataset.id = song.id;
    this.audio = this.part("audio");
    this.part(".pause").onclick = () => this.act("POST", "/pause");
    this.part(".resume").onclick = () => this.act("POST", "/resume").then(() => this.follow());
    this.part(".cancel").onclick = () => this.act("DELETE", "");
    this.part(".repeat").onclick = () => fillOrder(this.song);
    this.part(".remove").onclick = async () => {
      if (await this.act("DELETE", "")) {
        this.gone();
        showCount(total - 1);
      }
    };
    this.show();
    if (!OVER.includes(song.state)) this.follow();
  }

  part(selector) {
    return this.root.querySelector(selector);
  }

  async act(method, path) {
    try {
      await ask(method, `/v1/songs/${this.song.id}${path}`, method === "POST" ? {} : undefined);
      return true;
    } catch (error) {
      this.part(".state").textContent = error.message;
      return false;
    }
  }

  // Plays from the first sound on, and draws what comes.
  play() {
    setSource(this.audio, this.song);
    this.audio.play().catch(() => {});
    this.draw();
  }

  draw() {
    if (OVER.includes(this.song.state)) return this.drawWhole();
    if (this.reading || this.song.format !== "wav") return;
    this.reading = new AbortController();
    this.picture = new Picture(this.part("canvas"), this.song.max_seconds);
    const take = (samples) => this.picture.take(samples);
    readSamples(this.song.id, this.reading.signal, take).catch(() => {});
  }

  // A picture as wide as the song is long; of formats other than WAV there is none before.
  async drawWhole() {
    if (this.whole || !(this.song.seconds > 0 && this.song.seconds <= LONGEST_PICTURE)) return;
    this.whole = true;
    const samples = await decoded(this.song.id).catch(() => null);
    if (!samples) return;
    this.picture = new Picture(this.part("canvas"), samples.length / 48000);
    this.picture.take(samples);
    this.picture.label(this.song.title, this.song.seconds);
  }

  follow() {
    this.events?.close();
    const events = new EventSource(`/v1/songs/${this.song.id}/events`);
    this.events = events;
    const update = (event) => {
      const { buffered, ...status } = JSON.parse(event.data);
      Object.assign(this.song, status, buffered === undefined ? {} : { seconds: buffered });
      this.show();
    };
    for (const name of ["song", "queued", "writing", "paused", "first_sound", "progress"]) events.addEventListener(name, update);
    for (const name of ["done", "cancelled", "failed", "interrupted"]) {
      events.addEventListener(name, async (event) => {
        events.close();
        update(event);
        Object.assign(this.song, await ask("GET", `/v1/songs/${this.song.id}`));
        this.show();
        if (this.reading || !this.audio.paused) this.drawWhole();
      });
    }
  }

  show() {
    const { song } = this;
    const over = OVER.includes(song.state);
    this.root.dataset.state = song.state;
    this.part("h3").textContent = song.title || "Untitled";
    const parts = [WORDS[song.state]];
    if (song.state === "queued" && song.place !== null) parts.push(song.place === 0 ? "next" : `${song.place} before it`);
    if (song.seconds > 0) parts.push(`${song.seconds.toFixed(1)} s`);
    if (song.first_sound) parts.push(`first sound after ${song.first_sound.toFixed(1)} s`);
    if (song.loudness) parts.push(`${song.loudness.toFixed(1)} LUFS`);
    if (song.error) parts.push(song.error);
    this.part(".state").textContent = parts.join(", ");
    this.part(".about").textContent = `${song.tags}, seed ${song.seed}, ${song.format}`;
    this.part(".pause").hidden = song.state !== "writing";
    this.part(".resume").hidden = !["paused", "interrupted"].includes(song.state);
    this.part(".cancel").hidden = over;
    this.part(".remove").hidden = !over;
    const sounds = song.seconds > 0;
    this.audio.hidden = !sounds;
    this.audio.setAttribute("aria-label", `Play ${song.title}`);
    if (sounds) setSource(this.audio, song);
    this.audio.onplay = () => {
      for (const other of cards.values()) if (other !== this) other.audio.pause();
      this.draw();
    };
    const download = this.part(".download");
    download.hidden = !over || !sounds;
    download.href = `/v1/songs/${song.id}/audio?download=true`;
    this.picture?.label(song.title, song.seconds);
  }

  gone() {
    this.events?.close();
    this.reading?.abort();
    cards.delete(this.song.id);
    this.root.remove();
  }
}

function cardOf(song, first) {
  let card = cards.get(song.id);
  if (!card) {
    card = new Card(song);
    cards.set(song.id, card);
  }
  if (first) $("list").prepend(card.root);
  else $("list").append(card.root);
  return card;
}

// Songs that the search finds.
let total = 0;
function showCount(count) {
  total = count;
  $("count").textContent = count === 1 ? "1 song" : `${count} songs`;
}

let shown = 0;
async function history(more) {
  const query = new URLSearchParams({ q: $("search").value, limit: "24", offset: String(more ? shown : 0) });
  const { count, songs } = await ask("GET", `/v1/songs?${query}`);
  if (!more) {
    $("list").replaceChildren();
    shown = 0;
  }
  songs.forEach((song) => cardOf(song, false));
  shown += songs.length;
  showCount(count);
  $("more").hidden = shown >= count;
}
