// What people see: steps with times, and the line of progress.
import process from 'node:process';

const tty = process.stderr.isTTY;
let shown = false;
let lastLine = 0;

export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

export function say(line) {
  clearProgress();
  process.stdout.write(`${line}\n`);
}

export function warn(line) {
  clearProgress();
  process.stderr.write(`${line}\n`);
}

// On a terminal the line is written over; elsewhere one appears every two seconds.
export function progress(line) {
  if (tty) {
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
    shown = true;
  } else if (Date.now() - lastLine > 2000) {
    process.stderr.write(`${line}\n`);
    lastLine = Date.now();
  }
}

export function clearProgress() {
  if (shown) process.stderr.write('\r\x1b[K');
  shown = false;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks `probe` until it returns something true; its last complaint is in the error when time is over.
export async function until(what, timeoutMs, probe, { pauseMs = 50, signal } = {}) {
  const deadline = Date.now() + timeoutMs;
  let complaint = '';
  for (;;) {
    signal?.throwIfAborted();
    try {
      const answer = await probe();
      if (answer) return answer;
    } catch (error) {
      if (error.final) throw error;
      complaint = error.message;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds(timeoutMs)}${complaint ? ` (${complaint})` : ''}`);
    await sleep(pauseMs);
  }
}
