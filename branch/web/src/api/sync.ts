// How this office stands with head office, and what became of a write.
import { call } from './http';

export interface SyncStatus {
  server: string;
  joined: boolean;
  csn: number;
  pending: number;
  pendingSince?: string;
  territories: string[];
  joining?: { records: number; expected: number };
  link: {
    state: string;
    upstream: string;
    connected: boolean;
    caughtUp: boolean;
    roundTripMs: number;
    bytesIn: number;
    bytesOut: number;
    downSince?: string;
    problem?: string;
    problemCode?: string;
  };
}

export type FateState = 'pending' | 'applied' | 'merged' | 'overridden' | 'rejected';

export interface MutationStatus {
  id: string;
  state: FateState;
  outcomes?: { outcome: string; reason: string; explanation: string; field?: string }[];
}

export async function readSyncStatus(signal?: AbortSignal): Promise<SyncStatus> {
  return (await call('/api/sync/status', signal ? { signal } : {})).body as SyncStatus;
}

export async function readMutation(id: string): Promise<MutationStatus> {
  return (await call(`/api/sync/mutations/${encodeURIComponent(id)}`)).body as MutationStatus;
}
