const SILENCE = 5000; // ms without any message after which the connection counts as dead
const PAUSES = [500, 1000, 2000, 4000]; // ms before the next attempts

/** A WebSocket that opens itself again when it breaks, and is not open while the page is hidden. */
export class Connection {
  /** onText(object), onMoment(facts, picture) and onState(text, good) are called as things happen. */
  constructor(onText, onMoment, onState) {
    Object.assign(this, { onText, onMoment, onState, failures: 0, wanted: null });
    document.addEventListener("visibilitychange", () => this.open());
    this.open();
  }

  get good() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Say which sources to send; null for all. */
  see(names) {
    this.wanted = names;
    if (this.good) this.socket.send(JSON.stringify({ see: names }));
  }

  open() {
    clearTimeout(this.retry);
    this.drop();
    if (document.hidden) return;
    this.onState("Connecting…", false);
    const address = new URL("live" + location.search, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    let work = Promise.resolve();
    socket.onopen = () => {
      this.failures = 0;
      this.onState("Live", true);
      this.see(this.wanted);
    };
    socket.onmessage = ({ data }) => {
      this.watch();
      work = work.then(async () => {
        await this.take(data, socket);
        if (socket.readyState === WebSocket.OPEN) socket.send("next");
      });
    };
    socket.onclose = () => this.lost();
    this.socket = socket;
    this.watch();
  }

  async take(data, socket) {
    if (typeof data === "string") return this.onText(JSON.parse(data));
    const end = 4 + new DataView(data).getUint32(0, true);
    const facts = JSON.parse(new TextDecoder().decode(data.slice(4, end)));
    const picture = await createImageBitmap(new Blob([data.slice(end)], { type: "image/jpeg" }));
    if (socket === this.socket) this.onMoment(facts, picture);
  }

  /** Wi-Fi that goes away closes nothing: silence tells. */
  watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(), SILENCE);
  }

  drop() {
    clearTimeout(this.silence);
    if (!this.socket) return;
    this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
    this.socket.close();
    this.socket = null;
  }

  async lost() {
    this.drop();
    const pause = PAUSES[Math.min(this.failures++, PAUSES.length - 1)];
    this.retry = setTimeout(() => this.open(), pause);
    this.onState("No connection, trying again…", false);
    const page = await fetch(location.href, { method: "HEAD" }).catch(() => null);
    if (page?.status === 403 && !this.good) {
      clearTimeout(this.retry);
      this.onState("The program has a new token: open the address that it prints.", false);
    }
  }
}
