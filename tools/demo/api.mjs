// Requests to servers: OData at a branch, admin addresses, the lines' control.
export async function request(method, url, { token, body, headers } = {}) {
  const response = await fetch(url, {
    method,
    headers: {
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text };
}

export async function json(method, url, options) {
  const answer = await request(method, url, options);
  if (answer.status >= 300) throw new Error(`${method} ${url}: ${answer.status} ${answer.text.slice(0, 300)}`);
  return answer.text ? JSON.parse(answer.text) : {};
}

const ROOT = '/api/data/v9.2/';

export class Branch {
  constructor(server, token) {
    this.name = server.name;
    this.url = server.url;
    this.adminUrl = server.adminUrl;
    this.wanUrl = server.wanUrl;
    this.token = token;
  }
  get = (path, headers) => json('GET', this.url + ROOT + path, { token: this.token, headers });
  // Numbers as they were written: money never meets binary floating point.
  getText = async (path, headers) => {
    const answer = await request('GET', path.startsWith('http') ? path : this.url + ROOT + path, { token: this.token, headers });
    if (answer.status >= 300) throw new Error(`GET ${path} at ${this.name}: ${answer.status} ${answer.text.slice(0, 300)}`);
    return answer.text;
  };
  patch = (path, body) => json('PATCH', this.url + ROOT + path, { token: this.token, body, headers: { 'If-Match': '*' } });
  status = () => json('GET', `${this.adminUrl}/admin/status`, { token: this.token });
  audit = () => json('GET', `${this.adminUrl}/admin/audit`, { token: this.token });
  ready = async () => (await request('GET', `${this.url}/readyz`)).status === 200;
  signedIn = () => this.get('WhoAmI()');
  count = async (set) => Number(await this.getText(`${set}/$count`));
}

export const masterStatus = (master, token) => json('GET', `${master.adminUrl}/admin/status`, { token });

// up, down, set?stall=true: tools/wan/README.md
export const wan = (office, what) => json('POST', `${office.wanUrl}/${what}`);
