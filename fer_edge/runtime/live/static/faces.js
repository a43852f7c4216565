import { make, percent, shown, tone } from "./common.js";

const LINGER = 1000; // ms that a card stays when its face is gone, for a detector that blinks

/** A card for each face: who, what, and a bar for each emotion. */
export class Faces {
  constructor(section) {
    this.list = section.querySelector(".cards");
    this.empty = section.querySelector(".empty");
    this.cards = new Map();
  }

  /** Show the faces that streams see now. */
  show(streams) {
    const now = performance.now();
    const several = streams.length > 1;
    for (const stream of streams) {
      for (const face of stream.faces) {
        const key = `${stream.name} ${face.track}`;
        if (!this.cards.has(key)) this.cards.set(key, new Card(face));
        const card = this.cards.get(key);
        card.seen = now;
        card.show(face, stream, several);
      }
    }
    for (const [key, card] of this.cards) {
      card.element.classList.toggle("gone", now > card.seen);
      if (now - card.seen > LINGER || !streams.includes(card.stream)) this.cards.delete(key);
    }
    const place = ({ stream, track }) => 1e6 * streams.indexOf(stream) + track;
    const cards = [...this.cards.values()].sort((a, b) => place(a) - place(b));
    const elements = cards.map(({ element }) => element);
    if (elements.some((element, i) => element !== this.list.children[i])) {
      this.list.replaceChildren(...elements);
    }
    while (this.list.children.length > elements.length) this.list.lastChild.remove();
    this.empty.hidden = this.cards.size > 0;
    this.empty.textContent = streams.every(({ stale }) => stale) ? "No picture." : "No face in view.";
  }
}

class Card {
  constructor(face) {
    this.element = make("article", "card");
    this.portrait = this.element.appendChild(make("canvas", "portrait"));
    this.portrait.width = this.portrait.height = 112;
    this.portrait.setAttribute("aria-hidden", "true");
    const head = this.element.appendChild(make("h3"));
    this.emotion = head.appendChild(make("span", "emotion"));
    this.who = head.appendChild(make("small"));
    const bars = this.element.appendChild(make("div", "bars"));
    this.bars = {};
    for (const emotion of Object.keys(face.probabilities)) {
      const row = bars.appendChild(make("div", "bar"));
      row.setAttribute("role", "meter");
      row.setAttribute("aria-label", emotion);
      row.setAttribute("aria-valuemax", 100);
      row.append(make("span", "", emotion));
      row.style.setProperty("--colour", tone(emotion));
      row.append(make("i"));
      row.append(make("span", "value"));
      this.bars[emotion] = row;
    }
  }

  show(face, stream, several) {
    Object.assign(this, { stream, track: face.track });
    this.emotion.textContent = shown(face);
    this.emotion.style.setProperty("--colour", tone(shown(face)));
    this.who.textContent = `face ${face.track}${several ? `, ${stream.name}` : ""}`;
    for (const [emotion, share] of Object.entries(face.probabilities)) {
      const row = this.bars[emotion];
      const rounded = Math.round(100 * share);
      row.style.setProperty("--share", share);
      if (row.getAttribute("aria-valuenow") === String(rounded)) continue;
      row.setAttribute("aria-valuenow", rounded);
      row.lastChild.textContent = percent(share);
    }
    for (const [emotion, row] of Object.entries(this.bars)) {
      row.classList.toggle("label", emotion === face.emotion);
    }
    const [x, y, width, height] = face.box;
    const side = 1.25 * Math.max(width, height);
    const scale = stream.picture.width / stream.facts.width;
    const pen = this.portrait.getContext("2d");
    pen.clearRect(0, 0, 112, 112);
    pen.drawImage(
      stream.picture,
      scale * (x + (width - side) / 2),
      scale * (y + (height - side) / 2),
      scale * side,
      scale * side,
      0,
      0,
      112,
      112,
    );
  }
}
