// The demo's topology: a copy of a file of topology/ with its ports moved, and what the scripts need to know of it.
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';

const FIRST_PORT = 7400;
const address = /"127\.0\.0\.1:(\d+)"/g;
// Every server of the file has a block of ten ports; the control address of its line comes after them all.
const WIDTH = 60;

// The few keys that the demo needs, from files of our own; the servers read the file with a real parser.
function serversOf(text) {
  const servers = [];
  const section = text.slice(text.indexOf('\nservers:'), text.indexOf('\npolicies:') > 0 ? text.indexOf('\npolicies:') : undefined);
  for (const block of section.split(/\n\s*- /).slice(1)) {
    const key = (name) => block.match(new RegExp(`\\b${name}: "?([^",}\\n]+)"?`))?.[1].trim();
    const port = (name) => Number(block.match(new RegExp(`\\b${name}: "127\\.0\\.0\\.1:(\\d+)"`))?.[1] ?? 0);
    servers.push({
      name: block.match(/name: ([a-z0-9-]+)/)[1],
      kind: key('kind'),
      link: port('link'),
      http: port('http'),
      admin: port('admin'),
      dial: port('dial'),
    });
  }
  return servers;
}

// `base` moves all ports: 7400 becomes base.
export function makeTopology(source, target, base) {
  const move = (port) => Number(port) - FIRST_PORT + base;
  const text = readFileSync(source, 'utf8').replace(address, (_, port) => `"127.0.0.1:${move(port)}"`);
  writeFileSync(target, text);
  const servers = serversOf(text);
  for (const s of servers) {
    s.url = s.http ? `http://127.0.0.1:${s.http}` : undefined;
    s.adminUrl = `http://127.0.0.1:${s.admin}`;
    // The emulator's control address, beside the one where the office dials it.
    if (s.dial) s.wanUrl = `http://127.0.0.1:${s.dial + 1}`;
  }
  return {
    file: target,
    servers,
    master: servers.find((s) => s.kind === 'master'),
    branches: servers.filter((s) => s.kind === 'branch'),
    offices: servers.filter((s) => s.dial),
    byName: (name) => servers.find((s) => s.name === name),
  };
}

const isFree = (port) =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

// Below the range from which the kernel gives ports to outgoing connections, so that a server that is started
// again finds its port free.
export async function freeBase() {
  for (let attempt = 0; attempt < 200; attempt++) {
    const base = 10000 + Math.floor(Math.random() * 300) * WIDTH;
    const ports = Array.from({ length: WIDTH }, (_, i) => base + i);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) return base;
  }
  throw new Error('no free block of ports was found on 127.0.0.1');
}

// The servers' ports that somebody else has.
export async function takenPorts(topology) {
  const ports = topology.servers.flatMap((s) => [s.link, s.http, s.admin, s.dial, s.dial && s.dial + 1]).filter(Boolean);
  const free = await Promise.all(ports.map(isFree));
  return ports.filter((_, i) => !free[i]);
}
