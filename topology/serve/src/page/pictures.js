// Pictures: waveform above, spectrogram below, growing with the song.

const FFT = 1024;
const MOST_COLUMNS = 600;
const WINDOW = Float32Array.from({ length: FFT }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FFT));

class Picture {
  constructor(canvas, seconds) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    // A column has at least the samples of a spectrum, so a short song has fewer of them.
    canvas.width = Math.max(1, Math.min(MOST_COLUMNS, Math.floor((seconds * 48000) / FFT)));
    this.perColumn = Math.max(FFT, Math.ceil((seconds * 48000) / canvas.width));
    this.column = 0;
    this.held = new Float32Array(this.perColumn);
    this.fill = 0;
    this.context.clearRect(0, 0, canvas.width, canvas.height);
    canvas.hidden = false;
  }

  take(samples) {
    for (let at = 0; at < samples.length; ) {
      const some = Math.min(this.perColumn - this.fill, samples.length - at);
      this.held.set(samples.subarray(at, at + some), this.fill);
      this.fill += some;
      at += some;
      if (this.fill === this.perColumn) {
        this.draw();
        this.fill = 0;
      }
    }
  }

  draw() {
    const { context, canvas, held } = this;
    const half = canvas.height / 2;
    let peak = 0;
    for (const sample of held) peak = Math.max(peak, Math.abs(sample));
    const height = Math.max(1, peak * half);
    context.fillStyle = "#e08a7b";
    context.fillRect(this.column, (half - height) / 2, 1, height);
    const powers = spectrum(held.subarray(0, FFT));
    for (let y = 0; y < half; y++) {
      // From 60 Hz to 16 kHz, an octave as high as any other.
      const hertz = 60 * Math.pow(16000 / 60, y / half);
      const level = 10 * Math.log10(powers[Math.round((hertz * FFT) / 48000)] + 1e-12);
      const light = Math.max(0, Math.min(1, (level + 70) / 70));
      context.fillStyle = `hsl(${260 - 220 * light} 80% ${65 * light}%)`;
      context.fillRect(this.column, canvas.height - 1 - y, 1, 1);
    }
    this.column += 1;
  }

  label(title, seconds) {
    this.canvas.setAttribute("aria-label", `Waveform and spectrogram of ${seconds.toFixed(0)} seconds of ${title}`);
  }
}

// Powers of the frequencies of FFT samples, by a radix-2 transform in place.
function spectrum(samples) {
  const re = new Float32Array(FFT);
  const im = new Float32Array(FFT);
  for (let i = 0, j = 0; i < FFT; i++) {
    re[j] = (samples[i] || 0) * WINDOW[i];
    let bit = FFT >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
  }
  for (let size = 2; size <= FFT; size *= 2) {
    const turn = (-2 * Math.PI) / size;
    for (let k = 0; k < size / 2; k++) {
      const [c, s] = [Math.cos(turn * k), Math.sin(turn * k)];
      for (let a = k; a < FFT; a += size) {
        const b = a + size / 2;
        const [x, y] = [re[b] * c - im[b] * s, re[b] * s + im[b] * c];
        [re[b], im[b]] = [re[a] - x, im[a] - y];
        re[a] += x;
        im[a] += y;
      }
    }
  }
  return re.subarray(0, FFT / 2 + 1).map((x, i) => (x * x + im[i] * im[i]) / ((FFT * FFT) / 16));
}
