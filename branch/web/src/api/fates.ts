// What was saved in this tab and is not decided yet, followed to its fate.
import { ApiError } from './http';
import { session } from './session';
import { readMutation, type FateState } from './sync';

export interface Saved {
  mutation: string;
  set: string;
  record: string;
  label: string;
  fields: string[];
  state: FateState;
  reasons: string[];
  settledAt: number | null;
}

const kKey = 'branchline.saved';
const kFirstPollMs = 250;
const kLastPollMs = 5_000;
// How long "confirmed" is shown. What went otherwise than asked stays until it was seen.
const kShownMs = 7_000;
const kMost = 200;

export const asAsked = (state: FateState): boolean => state === 'applied' || state === 'merged';

class FateBook {
  private entries: Saved[] = load();
  private listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private wait = kFirstPollMs;
  private asking = false;

  constructor() {
    if (this.entries.some((e) => e.state === 'pending')) this.schedule();
  }

  all = (): Saved[] => this.entries;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  follow(saved: Omit<Saved, 'state' | 'reasons' | 'settledAt'>): void {
    this.change([...this.entries, { ...saved, state: 'pending' as const, reasons: [], settledAt: null }].slice(-kMost));
    this.poke();
  }

  dismiss(mutation: string): void {
    this.change(this.entries.filter((e) => e.mutation !== mutation));
  }

  clear(): void {
    this.change([]);
  }

  // Something happened on the line: ask now.
  poke(): void {
    this.wait = kFirstPollMs;
    this.schedule();
  }

  private schedule(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), this.wait);
  }

  private async ask(): Promise<void> {
    this.timer = null;
    if (this.asking || session.token() === null) return;
    this.asking = true;
    const open = this.entries.filter((e) => e.state === 'pending');
    const answers = await Promise.all(open.map((e) => this.fateOf(e)));
    this.asking = false;
    const settled = new Map(answers.filter((a) => a !== null).map((a) => [a.mutation, a]));
    if (settled.size > 0) {
      this.change(this.entries.map((e) => settled.get(e.mutation) ?? e));
      setTimeout(() => this.tidy(), kShownMs + 100);
    }
    if (this.entries.some((e) => e.state === 'pending') && this.timer === null) {
      this.wait = Math.min(this.wait * 1.6, kLastPollMs);
      this.schedule();
    }
  }

  private async fateOf(entry: Saved): Promise<Saved | null> {
    try {
      const status = await readMutation(entry.mutation);
      if (status.state === 'pending') return null;
      const reasons = (status.outcomes ?? []).filter((o) => o.outcome !== 'applied').map((o) => o.explanation);
      return { ...entry, state: status.state, reasons: [...new Set(reasons)], settledAt: Date.now() };
    } catch (error) {
      // The server does not know it (restored from elsewhere): there is nothing to follow.
      if (error instanceof ApiError && error.status === 404) return { ...entry, state: 'applied', reasons: [], settledAt: 0 };
      return null;
    }
  }

  private tidy(): void {
    const now = Date.now();
    this.change(this.entries.filter((e) => !asAsked(e.state) || now - (e.settledAt ?? now) < kShownMs));
  }

  private change(entries: Saved[]): void {
    this.entries = entries;
    sessionStorage.setItem(kKey, JSON.stringify(entries.filter((e) => !asAsked(e.state))));
    for (const listener of this.listeners) listener();
  }
}

function load(): Saved[] {
  try {
    return JSON.parse(sessionStorage.getItem(kKey) ?? '[]') as Saved[];
  } catch {
    return [];
  }
}

export const fates = new FateBook();
