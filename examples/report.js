// Reports how calls end, with a socket and nothing else (docs/reference/keys.md): node examples/report.js REDIS_URL POOL
// A line of standard input is a call that has ended: "shop-1 failure 120 503" (endpoint, outcome, milliseconds, HTTP status if any).
const net = require("node:net"), os = require("node:os"), readline = require("node:readline");
const [url, pool] = process.argv.slice(2), at = new URL(url), observer = `${os.hostname()}:${process.pid}`;
let counters = {}, waiting = [], seq = Date.now(); // Above whatever a process of this name has sent before.

function report(endpoint, outcome, ms, status) {
  const one = (counters[endpoint] ??= { calls: {}, latency: {} }), word = status ? `${outcome}/${status}` : outcome;
  one.calls[word] = (one.calls[word] ?? 0) + 1;
  if (outcome !== "success" || !(ms >= 0)) return;
  const bucket = Math.min(Math.max(Math.floor(Math.log(ms / 0.1) / Math.log(1.1)), 0), 254);
  one.latency[bucket] = (one.latency[bucket] ?? 0) + 1;
}

const command = (...words) => `*${words.length}\r\n${words.map(word => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
function exchange(...commands) { // One connection for each: short, and whatever went wrong is over with it.
  const first = [at.password && ["AUTH", decodeURIComponent(at.password)], ["SELECT", at.pathname.slice(1) || "0"]].filter(Boolean);
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(at.port || 6379), at.hostname).setTimeout(1000).setEncoding("utf8");
    let reply = "";
    socket.on("data", data => (reply += data)).on("error", reject).on("timeout", () => socket.destroy(new Error("no answer")));
    socket.on("close", () => (/^-/m.test(reply) || !reply ? reject(new Error(reply)) : resolve(reply)));
    socket.write([...first, ...commands, ["QUIT"]].map(words => command(...words)).join(""));
  });
}

async function send() {
  const endpoints = counters; counters = {};
  const [, seconds] = /\*2\r\n\$\d+\r\n(\d+)/.exec(await exchange(["TIME"]).catch(() => "")) ?? [0, Math.floor(Date.now() / 1000)];
  const slot_ms = Number(seconds) * 1000;
  if (Object.keys(endpoints).length) waiting = [...waiting, { schema: 1, observer, seq: seq++, slot_ms, endpoints }];
  waiting = waiting.filter(entry => slot_ms - entry.slot_ms <= 10_000); // Nobody would count an older one.
  const adds = waiting.map(entry => ["XADD", `wk:v1:{${pool}}:reports`, "MAXLEN", "~", "10000", "*", "r", JSON.stringify(entry)]);
  const sent = waiting, arrived = () => (waiting = waiting.filter(entry => !sent.includes(entry))); // Else they are sent again unchanged.
  if (adds.length) await exchange(...adds, ["ZADD", "wk:v1:reports", "NX", "0", pool]).then(arrived, () => {});
}

const timer = setInterval(send, 1000), lines = readline.createInterface({ input: process.stdin });
lines.on("line", line => { const [id, outcome, ms, status] = line.split(" "); report(id, outcome, Number(ms), status); });
lines.on("close", () => { clearInterval(timer); send(); });
