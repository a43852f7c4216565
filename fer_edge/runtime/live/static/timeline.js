import { colour, make, tone } from "./common.js";

const STEP = 250; // ms from one point to the next
const GONE = 2000; // ms without a face after which its lane goes below those of others
const MOST_LANES = 12;

/** A lane for each face of the last minute: the shares of the emotions, one above the other. */
export class Timeline {
  constructor(section) {
    this.list = section.querySelector(".lanes");
    this.legend = section.querySelector(".legend");
    this.empty = section.querySelector(".empty");
    this.more = section.querySelector(".more");
    this.pasts = new Map(); // by source: [time, {track: shares}], oldest first
    this.lanes = new Map();
    this.span = 60000;
    this.emotions = new Map(); // by source: its labels, in the order of the shares
  }

  /** Take what the program remembers. */
  start({ past, seconds, emotions }, here) {
    this.span = 1000 * seconds;
    for (const [name, labels] of Object.entries(emotions)) this.name(name, labels);
    for (const [name, points] of Object.entries(past)) {
      this.pasts.set(name, points.map(([time, faces]) => [here(time), faces]));
    }
  }

  /** Note the labels of a source, and show those of all. */
  name(source, labels) {
    if (this.emotions.get(source)?.join() === labels.join()) return;
    this.emotions.set(source, labels);
    const all = new Set([...this.emotions.values()].flat());
    this.legend.replaceChildren(
      ...[...all].map((emotion) => {
        const entry = make("li", "", emotion);
        entry.style.setProperty("--colour", tone(emotion));
        return entry;
      }),
    );
  }

  add(name, faces, time) {
    if (faces.length) this.name(name, Object.keys(faces[0].probabilities));
    if (!this.pasts.has(name)) this.pasts.set(name, []);
    const past = this.pasts.get(name);
    if (past.length && time - past.at(-1)[0] < STEP) return;
    const shares = faces.map((face) => [face.track, Object.values(face.probabilities)]);
    past.push([time, Object.fromEntries(shares)]);
    while (time - past[0][0] > this.span) past.shift();
  }

  draw(names) {
    const now = performance.now();
    const tracks = new Map(); // by key: {name, track, points}
    for (const name of names) {
      for (const [time, faces] of this.pasts.get(name) ?? []) {
        if (now - time > this.span) continue;
        for (const [track, shares] of Object.entries(faces)) {
          const key = `${name} ${track}`;
          if (!tracks.has(key)) tracks.set(key, { name, track, points: [] });
          tracks.get(key).points.push([time, shares]);
        }
      }
    }
    const gone = ({ points }) => now - points.at(-1)[0] > GONE;
    const place = ({ name, track }) => 1e6 * names.indexOf(name) + Number(track);
    const newest = [...tracks].sort(([, a], [, b]) => gone(a) - gone(b) || place(a) - place(b));
    const shown = new Map(newest.slice(0, MOST_LANES));
    for (const [key, lane] of this.lanes) {
      if (shown.has(key)) continue;
      lane.remove();
      this.lanes.delete(key);
    }
    for (const [key, { name, track, points }] of shown) {
      if (!this.lanes.has(key)) {
        const lane = make("li");
        lane.append(make("span"), make("canvas"));
        this.lanes.set(key, lane);
      }
      const lane = this.lanes.get(key);
      lane.title = lane.firstChild.textContent = `face ${track}${names.length > 1 ? `, ${name}` : ""}`;
      lane.lastChild.setAttribute("role", "img");
      lane.lastChild.setAttribute("aria-label", this.summary(points, name));
      this.list.append(lane); // in order
      this.drawLane(lane.lastChild, points, now, (this.emotions.get(name) ?? []).map(colour));
    }
    this.empty.hidden = shown.size > 0;
    this.more.hidden = newest.length <= MOST_LANES;
    this.more.textContent = `and ${newest.length - MOST_LANES} more faces`;
  }

  drawLane(canvas, points, now, tones) {
    const width = (canvas.width = canvas.clientWidth * window.devicePixelRatio);
    const height = (canvas.height = canvas.clientHeight * window.devicePixelRatio);
    const pen = canvas.getContext("2d");
    const x = (time) => width * (1 - (now - time) / this.span);
    points.forEach(([time, shares], i) => {
      const left = Math.floor(x(time));
      const next = points[i + 1]?.[0] ?? time + STEP;
      const wide = Math.ceil(x(Math.min(next, time + 4 * STEP))) - left;
      let top = 0;
      shares.forEach((share, e) => {
        pen.fillStyle = tones[e];
        pen.fillRect(left, top * height, wide, Math.ceil(share * height));
        top += share;
      });
    });
  }

  summary(points, name) {
    const leaders = points.map(([, shares]) => shares.indexOf(Math.max(...shares)));
    const shares = (this.emotions.get(name) ?? [])
      .map((emotion, e) => [emotion, leaders.filter((leader) => leader === e).length])
      .filter(([, n]) => n)
      .sort(([, a], [, b]) => b - a)
      .map(([emotion, n]) => `${emotion} ${Math.round((100 * n) / leaders.length)} %`);
    return `${shares.join(", ")} of the time`;
  }
}
