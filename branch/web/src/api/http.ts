// Requests to the branch that served this page.
import { session } from './session';

// `status` 0: the office's server did not answer at all.
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  // A later try may succeed without anybody changing anything.
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

export interface Answer {
  status: number;
  body: unknown;
  // Which mutation a write became; its fate is told under this name.
  mutation: string | null;
  // The URL of the record written.
  created: string | null;
}

export interface Call {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  // Signing in tries a token that is not the session's yet.
  token?: string;
}

interface ErrorBody {
  error?: { code?: string; message?: string };
}

export function authorization(token: string | null): Record<string, string> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

export async function failure(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as ErrorBody;
  return new ApiError(response.status, body.error?.code ?? 'http', body.error?.message ?? response.statusText);
}

export async function call(path: string, options: Call = {}): Promise<Answer> {
  const token = options.token ?? session.token();
  const headers: Record<string, string> = { Accept: 'application/json', ...authorization(token), ...options.headers };
  const init: RequestInit = { method: options.method ?? 'GET', headers, cache: 'no-store' };
  if (options.body !== undefined) {
    headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  if (options.signal) init.signal = options.signal;

  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new ApiError(0, 'network', 'the server did not answer');
  }
  if (!response.ok) {
    const error = await failure(response);
    // Only if it is still the session's token: a slow answer must not end the session after it.
    if (error.status === 401 && options.token === undefined && token === session.token()) session.close('refused');
    throw error;
  }
  const text = await response.text();
  return {
    status: response.status,
    body: text === '' ? null : (JSON.parse(text) as unknown),
    mutation: response.headers.get('Branchline-Mutation'),
    created: response.headers.get('OData-EntityId'),
  };
}
