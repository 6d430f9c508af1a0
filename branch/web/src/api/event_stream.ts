// Server-sent events out of chunks of text, as the standard says (only what the branch sends: no `retry`).
export interface StreamEvent {
  id: string | null;
  name: string;
  data: string;
}

export class EventReader {
  private buffer = '';
  private id: string | null = null;
  private name = '';
  private data: string[] = [];

  push(chunk: string): StreamEvent[] {
    this.buffer += chunk;
    const events: StreamEvent[] = [];
    for (;;) {
      const end = this.buffer.indexOf('\n');
      if (end < 0) return events;
      const line = this.buffer.slice(0, end).replace(/\r$/, '');
      this.buffer = this.buffer.slice(end + 1);
      const event = this.line(line);
      if (event) events.push(event);
    }
  }

  private line(line: string): StreamEvent | null {
    if (line === '') {
      const event = this.data.length === 0 ? null : { id: this.id, name: this.name || 'message', data: this.data.join('\n') };
      this.name = '';
      this.data = [];
      return event;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return null; // a comment: the line is alive
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') this.id = value;
    if (field === 'event') this.name = value;
    if (field === 'data') this.data.push(value);
    return null;
  }
}
