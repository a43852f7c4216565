import { colour, make, percent, shown } from "./common.js";

const SILENT = 2000; // ms without a picture after which the last one counts as old

/** One source: its video, what is drawn over it, and the figures below. */
export class Stream {
  constructor(name) {
    this.name = name;
    this.status = { state: "opening", error: null };
    this.element = make("figure", "stream");
    this.frame = this.element.appendChild(make("div", "frame"));
    this.canvas = this.frame.appendChild(make("canvas"));
    this.canvas.setAttribute("role", "img");
    this.trouble = this.frame.appendChild(make("p", "trouble"));
    this.trouble.setAttribute("role", "status");
    const caption = this.element.appendChild(make("figcaption"));
    const title = caption.appendChild(make("div"));
    title.append(make("b", "name", name));
    this.state = title.appendChild(make("span", "state"));
    const figures = caption.appendChild(make("div", "figures"));
    this.figures = {};
    for (const [key, label] of [
      ["fps", "frames/s"],
      ["age", "frame age"],
      ["dropped", "dropped"],
    ]) {
      const pair = figures.appendChild(make("span"));
      this.figures[key] = pair.appendChild(make("b", "", "–"));
      pair.append(` ${label}`);
    }
    this.figures.age.parentNode.title = "From the capture of a frame to its result";
    this.figures.dropped.parentNode.title = "Frames that newer ones replaced before they were read";
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** Show a picture and what was found in it at a time of performance.now(). */
  show(facts, picture, time) {
    this.picture?.close();
    Object.assign(this, { facts, picture, time });
    this.frame.style.setProperty("--ratio", facts.width / facts.height);
    this.figures.dropped.textContent = facts.dropped.toLocaleString();
    this.draw();
    this.tick(true);
  }

  /** Say plainly when what is seen is not what is. */
  tick(connected) {
    const looked = this.element.isConnected; // otherwise no pictures are sent
    const silent = looked && this.facts ? performance.now() - this.time : 0;
    const { state, error } = this.status;
    let trouble = "";
    if (!connected) trouble = "No connection to the program.";
    else if (state === "lost") trouble = `Source lost, opening it again. ${error ?? ""}`;
    else if (state === "closed") trouble = `Ended. ${error ?? ""}`;
    else if (state === "stalled") trouble = "The source sends no pictures.";
    else if (looked && !this.facts) trouble = "Waiting for the first picture.";
    else if (silent > SILENT) trouble = "No new result.";
    const since = trouble && silent > SILENT ? ` Picture is ${Math.round(silent / 1000)} s old.` : "";
    this.said(trouble, since);
    this.stale = trouble !== "";
    const live = looked && this.facts && !this.stale;
    this.figures.fps.textContent = live ? this.facts.fps.toFixed(1) : "–";
    this.figures.age.textContent = live ? `${this.facts.age_ms.toFixed(0)} ms` : "–";
    this.frame.classList.toggle("stale", this.stale);
    this.state.textContent = connected ? state : "unknown";
    this.state.dataset.state = trouble && state === "running" ? "stalled" : state;
  }

  said(trouble, since) {
    if (this.trouble.dataset.text === trouble + since) return;
    this.trouble.dataset.text = trouble + since;
    const clock = make("span", "", since);
    clock.setAttribute("aria-hidden", "true"); // a screen reader need not hear it every second
    this.trouble.replaceChildren(trouble, clock);
  }

  /** The faces of the newest picture; none of one that is old. */
  get faces() {
    return this.facts && !this.stale ? this.facts.faces : [];
  }

  draw() {
    const { canvas, facts, picture } = this;
    if (!picture || !canvas.clientWidth) return;
    const density = window.devicePixelRatio;
    const width = Math.round(canvas.clientWidth * density);
    const height = Math.round(canvas.clientHeight * density);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(picture, 0, 0, width, height);
    pen.scale(density, density);
    const scale = canvas.clientWidth / facts.width;
    for (const face of facts.faces) this.drawFace(pen, face, scale);
    const said = facts.faces.map((face) => `${face.track} ${shown(face)}`).join(", ");
    canvas.setAttribute("aria-label", `${this.name}: ${said || "no face"}`);
  }

  drawFace(pen, face, scale) {
    const [x, y, width, height] = face.box.map((value) => value * scale);
    const tone = colour(shown(face));
    pen.lineJoin = "round";
    for (const [style, line] of [["#000a", 5], [tone, 3]]) {
      pen.strokeStyle = style;
      pen.lineWidth = line;
      pen.strokeRect(x, y, width, height);
    }
    const share = face.probabilities[face.emotion];
    const text = share === undefined ? shown(face) : `${face.emotion} ${percent(share)}`;
    const size = this.canvas.clientWidth < 500 ? 12 : 14;
    pen.font = `600 ${size}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const high = size + 8;
    const wide = pen.measureText(text).width + size + 14;
    const left = Math.max(Math.min(x - 1, this.canvas.clientWidth - wide), 0);
    const top = y - high - 2 > 0 ? y - high - 2 : Math.min(y + 2, this.canvas.clientHeight - high);
    pen.fillStyle = "#000c";
    pen.beginPath();
    pen.roundRect(left, top, wide, high, 4);
    pen.fill();
    pen.fillStyle = tone;
    pen.fillRect(left + 6, top + (high - size + 4) / 2, size - 4, size - 4);
    pen.fillStyle = "#fff";
    pen.fillText(text, left + size + 7, top + high / 2 + 1);
  }
}
