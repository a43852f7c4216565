import { Connection } from "./connection.js";
import { learn, make } from "./common.js";
import { Faces } from "./faces.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";

const streams = new Map();
const place = document.querySelector("#streams");
const choice = document.querySelector("#sources");
const state = document.querySelector("#connection");
const faces = new Faces(document.querySelector("#faces"));
const timeline = new Timeline(document.querySelector("#timeline"));
let soon = 0;
let offset = 0; // ms from the program's clock to this page's

/** A time of the program, in ms of performance.now(). */
const here = (time) => 1000 * time + offset;

/** The source that is looked at alone: a part of the address, so that it can be kept. */
const chosen = () => decodeURIComponent(location.hash.slice(1));
const visible = () => [...streams.values()].filter(({ name }) => [name, ""].includes(chosen()));

function stream(name) {
  if (!streams.has(name)) {
    const added = new Stream(name);
    added.element.onclick = () => choose(streams.size > 1 && !chosen() ? name : "");
    streams.set(name, added);
    arrange();
  }
  return streams.get(name);
}

function choose(name) {
  location.hash = encodeURIComponent(name);
}

function arrange() {
  const shown = visible();
  place.replaceChildren(...shown.map(({ element }) => element));
  place.dataset.count = shown.length;
  place.toggleAttribute("data-choice", streams.size > 1);
  choice.hidden = streams.size < 2;
  const names = ["", ...streams.keys()];
  choice.replaceChildren(
    ...names.map((name) => {
      const button = make("button", "", name || "All");
      button.setAttribute("aria-pressed", name === chosen());
      button.onclick = () => choose(name);
      return button;
    }),
  );
}

const connection = new Connection(
  (told) => {
    const found = performance.now() - 1000 * told.now;
    offset = told.past ? found : Math.min(offset, found); // the quickest message is the truest
    learn(told.tones);
    if (told.past) timeline.start(told, here);
    for (const status of told.sources ?? []) stream(status.source).status = status;
  },
  (facts, picture) => {
    learn(facts.tones);
    stream(facts.source).show(facts, picture, here(facts.time));
    timeline.add(facts.source, facts.faces, here(facts.time));
    showFaces();
  },
  (text, good) => {
    state.textContent = text;
    state.classList.toggle("good", good);
  },
);

/** Once for all sources that have news. */
function showFaces() {
  cancelAnimationFrame(soon);
  soon = requestAnimationFrame(() => faces.show(visible()));
}

function look() {
  arrange();
  connection.see(chosen() ? [chosen()] : null);
}

addEventListener("hashchange", look);
look();
setInterval(() => {
  for (const shown of streams.values()) shown.tick(connection.good);
  for (const button of choice.querySelectorAll("button")) {
    button.dataset.state = streams.get(button.textContent)?.state.dataset.state ?? "";
  }
  showFaces();
  timeline.draw(visible().map(({ name }) => name));
}, 250);
