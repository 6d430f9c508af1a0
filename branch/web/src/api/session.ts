// Who is signed in: the API token, kept for the tab or, if the person asks for it, for this computer.
const kKey = 'branchline.token';

export type SignedOutBecause = 'never' | 'left' | 'refused';

interface State {
  token: string | null;
  because: SignedOutBecause;
}

let state: State = {
  token: sessionStorage.getItem(kKey) ?? localStorage.getItem(kKey),
  because: 'never',
};
const listeners = new Set<() => void>();

function change(next: State): void {
  state = next;
  for (const listener of listeners) listener();
}

export const session = {
  current: (): State => state,
  token: (): string | null => state.token,

  open(token: string, remember: boolean): void {
    (remember ? localStorage : sessionStorage).setItem(kKey, token);
    change({ token, because: 'never' });
  },

  close(because: SignedOutBecause): void {
    sessionStorage.removeItem(kKey);
    localStorage.removeItem(kKey);
    change({ token: null, because });
  },

  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};
