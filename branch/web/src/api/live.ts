// Keeps what is shown true: changes told by the branch make the queries they concern read anew.
import type { Query, QueryClient } from '@tanstack/react-query';
import { followChanges, type Change } from './changes';
import { fates } from './fates';

// Changes that come together are answered together; while an import runs, lists are read once a second.
const kGatherMs = 80;
const kLeastGapMs = 1_000;

function concerns(query: Query, changes: readonly Change[]): boolean {
  const reads = query.meta;
  if (!reads?.sets) return false;
  return changes.some((c) => reads.sets.includes(c.set) && (reads.record === undefined || reads.record === c.id));
}

// After a write of our own: read at once what it concerns, also while the stream is away.
export function wrote(client: QueryClient, set: string, id: string): void {
  const change: Change = { set, id, kind: 'changed' };
  void client.invalidateQueries({ predicate: (query) => concerns(query, [change]) });
  void client.invalidateQueries({ queryKey: ['status'] });
}

export function keepLive(client: QueryClient, onState: (live: boolean) => void): () => void {
  let gathered: Change[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  let flushed = 0;

  function flush(): void {
    timer = null;
    flushed = Date.now();
    const changes = gathered;
    gathered = [];
    void client.invalidateQueries({ predicate: (query) => concerns(query, changes) });
  }

  const stop = followChanges({
    onChanges: (changes) => {
      gathered.push(...changes);
      timer ??= setTimeout(flush, Math.max(kGatherMs, flushed + kLeastGapMs - Date.now()));
    },
    onGap: () => void client.invalidateQueries({ predicate: (query) => query.meta?.sets !== undefined }),
    onSync: () => {
      void client.invalidateQueries({ queryKey: ['status'] });
      fates.poke();
    },
    onState: (live) => {
      onState(live);
      void client.invalidateQueries({ queryKey: ['status'] });
    },
  });
  return () => {
    if (timer !== null) clearTimeout(timer);
    stop();
  };
}
