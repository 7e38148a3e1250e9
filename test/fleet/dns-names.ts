// A name server of the world outside, for the demo:  node test/fleet/dns-names.ts --listen 172.30.255.1:53 --name www.outside.example=192.0.2.80
// Answers questions for the A records of its names over UDP, all others with NXDOMAIN. Prints "listening ADDR:PORT", and
// for each question "asked NAME TYPE".
import { createSocket } from "node:dgram";
import { parseArgs } from "node:util";
import { parseListen } from "./listen.ts";

const HEADER_BYTES = 12;
const TYPE_A = 1;
const QR_RD_RA = 0x8180; // an answer, recursion desired and available
const NXDOMAIN = 3;

const { values } = parseArgs({
  options: { listen: { type: "string", default: "127.0.0.1:0" }, name: { type: "string", multiple: true, default: [] } },
});
const addresses = new Map(
  values.name.map((text) => {
    const [, name = "", address = ""] = /^([^=]+)=(\d+\.\d+\.\d+\.\d+)$/.exec(text) ?? [];
    if (name === "") throw new Error(`bad --name ${text}: want NAME=ADDRESS`);
    return [name.toLowerCase(), address];
  }),
);

// undefined: no question that one could answer.
function answer(message: Buffer): Buffer | undefined {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = message[at++] ?? 0; length > 0; length = message[at++] ?? 0) {
    labels.push(message.toString("latin1", at, at + length));
    at += length;
  }
  const end = at + 4; // type and class
  if (end > message.length) return undefined;
  const name = labels.join(".").toLowerCase();
  process.stdout.write(`asked ${name} ${message.readUInt16BE(at)}\n`);
  const address = addresses.get(name);
  const records = address !== undefined && message.readUInt16BE(at) === TYPE_A ? [recordA(address)] : [];
  const header = Buffer.alloc(HEADER_BYTES);
  message.copy(header, 0, 0, 2); // the id
  header.writeUInt16BE(QR_RD_RA | (address === undefined ? NXDOMAIN : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, message.subarray(HEADER_BYTES, end), ...records]);
}

function recordA(address: string): Buffer {
  const fixed = Buffer.from([0xc0, HEADER_BYTES, 0, TYPE_A, 0, 1, 0, 0, 0, 5, 0, 4]); // the question's name, A, IN, 5 s, 4 bytes
  return Buffer.concat([fixed, Buffer.from(address.split(".").map(Number))]);
}

const { host, port } = parseListen(values.listen);
const socket = createSocket("udp4");
socket.on("message", (message, from) => {
  const reply = answer(message);
  if (reply) socket.send(reply, from.port, from.address);
});
socket.bind({ address: host, port }, () => {
  const { address, port: bound } = socket.address();
  process.stdout.write(`listening ${address}:${bound}\n`);
});
