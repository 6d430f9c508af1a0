// The change stream of the branch, kept up: read with fetch, because the token goes in a header.
import { EventReader } from './event_stream';
import { authorization } from './http';
import { session } from './session';

export interface Change {
  set: string;
  id: string;
  kind: 'changed' | 'gone';
}

export interface ChangeHandlers {
  onChanges: (changes: Change[]) => void;
  // Changes may have been missed: what is shown must be read anew.
  onGap: () => void;
  // The state towards head office changed (changes waiting, link).
  onSync: () => void;
  onState: (live: boolean) => void;
}

const kFirstWaitMs = 400;
const kLastWaitMs = 15_000;
// The branch says something at least every 15 seconds; silence of this length is a dead connection.
const kSilenceMs = 40_000;

export function followChanges(handlers: ChangeHandlers): () => void {
  const stop = new AbortController();
  let last: string | null = null;
  let wait = kFirstWaitMs;
  let wake: (() => void) | null = null;

  async function readOnce(): Promise<void> {
    const connection = new AbortController();
    const end = () => connection.abort();
    stop.signal.addEventListener('abort', end);
    let silence = setTimeout(end, kSilenceMs);
    try {
      const headers: Record<string, string> = { Accept: 'text/event-stream', ...authorization(session.token()) };
      if (last !== null) headers['Last-Event-ID'] = last;
      const response = await fetch('/api/changes', { headers, signal: connection.signal, cache: 'no-store' });
      if (response.status === 401) session.close('refused');
      if (response.status === 410) {
        // Of another start of the server, or too old: begin at its present.
        last = null;
        wait = 0;
      }
      if (!response.ok || response.body === null) return;
      const resumed = last !== null;
      const events = new EventReader();
      const chunks = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await chunks.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(end, kSilenceMs);
        const changes: Change[] = [];
        for (const event of events.push(value)) {
          if (event.id !== null) last = event.id;
          if (event.name === 'change') changes.push(JSON.parse(event.data) as Change);
          if (event.name === 'sync') handlers.onSync();
          if (event.name === 'hello') {
            wait = kFirstWaitMs;
            handlers.onState(true);
            if (!resumed) handlers.onGap();
          }
        }
        if (changes.length > 0) handlers.onChanges(changes);
      }
    } finally {
      clearTimeout(silence);
      stop.signal.removeEventListener('abort', end);
      connection.abort();
    }
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted && session.token() !== null) {
      // How it ended does not matter: it is taken up where it was left.
      await readOnce().catch(() => undefined);
      if (stop.signal.aborted) return;
      handlers.onState(false);
      const pause = wait * (0.5 + Math.random() / 2);
      wait = Math.min(Math.max(wait, kFirstWaitMs) * 2, kLastWaitMs);
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, pause);
      });
    }
  }

  // Somebody looks again, or the network is back: no need to wait out the pause.
  const hurry = () => wake?.();
  window.addEventListener('online', hurry);
  document.addEventListener('visibilitychange', hurry);
  void run();
  return () => {
    stop.abort();
    wake?.();
    window.removeEventListener('online', hurry);
    document.removeEventListener('visibilitychange', hurry);
  };
}
