#!/usr/bin/env python3
"""Turns public-domain scores into the one compact file of notes that the trainer reads.

Run once; its result, scores.bin, is in the repository. No random number is drawn, so there is no seed: the same
release of music21 gives the same file, byte for byte.

    python3 -m venv /tmp/extract && /tmp/extract/bin/pip install music21==10.5.1
    /tmp/extract/bin/python examples/train/corpus/extract.py examples/train/corpus/scores.bin

What is taken, what is left out, and by which right: docs/corpus-rights.md.

The file is one zlib stream. Numbers are little-endian; "varint" is seven bits a byte, lowest first, the eighth bit
says that another byte follows. A tick is a 24th of a quarter note.

    "HSCORE1\n"  u32 pieces
    piece:  u8 collection  u8 kind  u8 tonic (0 = C)  u8 mode  u8 beats  u8 beat unit  varint pickup ticks
            u8 length of title, title in UTF-8  u8 parts
    part:   varint notes
    note:   varint ticks since the onset before it  varint duration in ticks  u8 MIDI pitch, + 128 where a phrase ends
"""

import re
import struct
import sys
import warnings
import zlib
from fractions import Fraction
from multiprocessing import Pool
from pathlib import Path

import music21
from music21 import chord, converter, expressions, key, meter

TICKS = 24
COLLECTIONS = ["bach", "ryansMammoth", "oneills1850"]
KINDS = ["chorale", "reel", "jig", "hornpipe", "strathspey", "waltz", "march", "air", "polka", "dance"]
MODES = ["major", "minor", "dorian", "mixolydian"]
MODE_NAMES = {"": "major", "maj": "major", "ion": "major", "m": "minor", "min": "minor", "aeo": "minor",
              "dor": "dorian", "mix": "mixolydian"}


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def ticks(quarters):
    exact = Fraction(quarters).limit_denominator(96) * TICKS
    if exact.denominator != 1:
        raise ValueError(f"a time of {quarters} quarters is no whole number of ticks")
    return int(exact)


def notes_of(part):
    """Onset, duration, pitch and end of phrase of each note of one part; one note at a time, the highest."""
    found = []
    for element in part.stripTies().flatten().notes:
        if element.duration.isGrace or element.quarterLength == 0:
            continue
        pitch = element.pitches[-1].midi if isinstance(element, chord.Chord) else element.pitch.midi
        if not 24 <= pitch <= 108:
            raise ValueError(f"pitch {pitch} is outside every instrument")
        ends = any(isinstance(mark, expressions.Fermata) for mark in element.expressions)
        found.append((ticks(element.offset), ticks(element.quarterLength), pitch, ends))
    return sorted(found)


def one(values, what):
    if len(set(values)) != 1:
        raise ValueError(f"{len(set(values))} different {what}, where one is wanted")
    return values[0]


def shape(score):
    """Meter and pickup of a score: the first bar is a pickup when it is shorter than its meter says."""
    part = score.parts[0]
    signature = one([(t.numerator, t.denominator) for t in part.recurse().getElementsByClass(meter.TimeSignature)], "meters")
    bars = list(part.getElementsByClass("Measure"))
    full = Fraction(signature[0] * 4, signature[1])
    first = Fraction(bars[0].duration.quarterLength).limit_denominator(96)
    return signature, ticks(first) if first < full else 0


def sounding_key(notes, sharps):
    """Major or minor of a key signature, by where the piece ends."""
    major = sharps * 7 % 12
    minor = (major + 9) % 12
    final = notes[-1][2] % 12
    if final == major:
        return major, "major"
    if final == minor:
        return minor, "minor"
    if final == (major + 2) % 12:
        return final, "dorian"
    if final == (major + 7) % 12:
        return final, "mixolydian"
    raise ValueError("the last note is not the tonic of a mode that is taken")


def chorale(path):
    score = converter.parse(path)
    if len(score.parts) != 4:
        raise ValueError(f"{len(score.parts)} parts, where four are wanted")
    score = score.expandRepeats()
    signature, pickup = shape(score)
    parts = [notes_of(part) for part in score.parts]
    sharps = one([k.sharps for k in score.parts[0].recurse().getElementsByClass(key.KeySignature)], "keys")
    if sum(ends for *_, ends in parts[0]) < 3:
        raise ValueError("fewer than three fermatas: the phrases are not known")
    # Dorian and mixolydian signatures are an old spelling of minor and major; the last chord's bass is the tonic.
    tonic = parts[3][-1][2] % 12
    third = {(p[-1][2] - tonic) % 12 for p in parts}
    counts = [0] * 12
    for part in parts:
        for _, duration, pitch, _ in part:
            counts[(pitch - tonic) % 12] += duration
    mode = "major" if counts[4] > counts[3] else "minor"
    if 4 not in third and 3 not in third and 7 not in third and third != {0}:
        raise ValueError("the last chord is not the tonic's")
    title = (score.metadata.title if score.metadata and score.metadata.title else "") or Path(path).stem
    title = f"{Path(path).stem} {title}" if Path(path).stem not in title else title
    return dict(collection="bach", kind="chorale", tonic=tonic, mode=mode, meter=signature, pickup=pickup, title=title,
                parts=parts)


def kind_of(rhythm, title, signature, slow):
    words = f"{rhythm} {title}".lower()
    for kind in KINDS[1:]:
        if kind in words:
            return kind
    if "fling" in words or "highland" in words:
        return "strathspey"
    if "clog" in words:
        return "hornpipe"
    if slow:
        return "air"
    return {(6, 8): "jig", (9, 8): "jig", (12, 8): "jig", (3, 4): "waltz", (2, 4): "polka"}.get(signature, "reel")


def tune(job):
    collection, text = job
    field = lambda letter: (re.search(rf"(?m)^{letter}:\s*(.*?)\s*$", text) or [None, ""])[1]
    if re.search(r"(?m)^V:|\[V:|&", text):
        raise ValueError("several voices")
    # Chord names and remarks in quotes, graces and ornaments are not notes of the tune.
    lines = []
    for line in text.split("\n"):
        if re.match(r"[A-Za-z]:", line) and line[0] not in "XTMLKP":
            continue
        if not re.match(r"[A-Za-z]:", line):
            line = re.sub(r'"[^"]*"|\{[^}]*\}|%.*|![^!]*!|[~uvTHJ.]', "", line)
        lines.append(line)
    score = converter.parseData("\n".join(lines), format="abc")
    score = score.expandRepeats()
    signature, pickup = shape(score)
    if signature not in [(2, 2), (4, 4), (2, 4), (3, 4), (6, 8), (9, 8), (12, 8)]:
        raise ValueError(f"meter {signature}")
    notes = notes_of(score.parts[0])
    if len(notes) < 24:
        raise ValueError("fewer than 24 notes")
    sharps = one([k.sharps for k in score.parts[0].recurse().getElementsByClass(key.KeySignature)], "keys")
    tonic, mode = sounding_key(notes, sharps)
    spelled = re.match(r"([A-G][#b]?)\s*([a-z]{0,3})", field("K"), re.I)
    if spelled and MODE_NAMES.get(spelled[2].lower()) and spelled[2] != "":
        named = key.Key(spelled[1]).tonic.pitchClass
        if named != tonic:
            raise ValueError("the tune does not end on the tonic that it names")
        mode = MODE_NAMES[spelled[2].lower()]
    bar = signature[0] * 4 * TICKS // signature[1]
    length = notes[-1][0] + notes[-1][1]
    bars = (length - pickup + bar - 1) // bar
    if bars % 4 or (length - pickup) % bar not in (0, bar - pickup):
        raise ValueError(f"{bars} bars, where a multiple of four is wanted")
    remark = re.search(r'(?i)"(slow|plaintive|tender|mournful|sad)', text)
    return dict(collection=collection, kind=kind_of(field("R"), field("T"), signature, bool(remark)), tonic=tonic, mode=mode,
                meter=signature, pickup=pickup, title=field("T")[:120], parts=[notes])


def extract(job):
    warnings.simplefilter("ignore")
    try:
        return (chorale(job[1]) if job[0] == "bach" else tune(job)), None
    except Exception as error:  # a score that the parser cannot read is left out, and counted by its reason
        return None, f"{job[0]}: {re.sub(r'[0-9]+', 'n', f'{type(error).__name__} {error}')[:90]}"


def jobs():
    corpus = Path(music21.__file__).parent / "corpus"
    for path in sorted((corpus / "bach").glob("*.mxl")):
        yield "bach", str(path)
    for collection in COLLECTIONS[1:]:
        for path in sorted((corpus / collection).glob("*.abc")):
            for text in re.split(r"(?m)^(?=X:)", path.read_text(encoding="utf-8", errors="replace")):
                if not text.startswith("X:") or re.search(r"(?i)copyright|permission|licen[sc]e", text):
                    continue
                # A tune ends at the first empty line; what follows is a remark of the collector.
                yield collection, re.split(r"\r?\n[ \t]*\r?\n", text.replace("\r", ""), maxsplit=1)[0] + "\n"


def written(piece):
    title = piece["title"].encode()[:120].decode(errors="ignore").encode()
    out = bytes([COLLECTIONS.index(piece["collection"]), KINDS.index(piece["kind"]), piece["tonic"],
                 MODES.index(piece["mode"]), *piece["meter"]])
    out += varint(piece["pickup"]) + bytes([len(title)]) + title + bytes([len(piece["parts"])])
    for part in piece["parts"]:
        out += varint(len(part))
        last = 0
        for onset, duration, pitch, ends in part:
            out += varint(onset - last) + varint(duration) + bytes([pitch + 128 * ends])
            last = onset
    return out


def main():
    target = Path(sys.argv[1])
    with Pool(int(sys.argv[2]) if len(sys.argv) > 2 else None) as pool:
        results = pool.map(extract, list(jobs()), chunksize=8)
    pieces, reasons, seen = [], {}, set()
    for piece, reason in results:
        if piece is None:
            reasons[reason] = reasons.get(reason, 0) + 1
            continue
        music = tuple((d, p) for _, d, p, _ in piece["parts"][0])
        if music in seen:
            reasons["the same notes twice"] = reasons.get("the same notes twice", 0) + 1
            continue
        seen.add(music)
        pieces.append(piece)
    data = b"HSCORE1\n" + struct.pack("<I", len(pieces)) + b"".join(map(written, pieces))
    target.write_bytes(zlib.compress(data, 9))
    for collection in COLLECTIONS:
        print(collection, sum(p["collection"] == collection for p in pieces), "pieces")
    for kind in KINDS:
        print(kind, sum(p["kind"] == kind for p in pieces))
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        print(f"{count:5} left out: {reason}")
    print(len(pieces), "pieces,", sum(len(x) for p in pieces for x in p["parts"]), "notes,", target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
