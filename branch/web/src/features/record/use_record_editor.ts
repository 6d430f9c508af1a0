// One record being changed: shown as changed at once, saved under the ETag that the person saw, and where somebody was
// faster, both versions are put side by side.
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { fates } from '../../api/fates';
import { ApiError } from '../../api/http';
import { wrote } from '../../api/live';
import { readRecord, updateRecord, type FieldValue, type Stored } from '../../api/odata';
import { errorText } from '../../components/states';
import { fieldLabel, useTexts } from '../../i18n';
import { fieldsOf, type RecordSpec } from './field_spec';
import { changesOf, same, valueOf, type Draft } from './values';

interface Editing<T> {
  base: T; // as it was when the person began
  draft: Draft;
  focus: string | null;
}

export interface Conflict<T> {
  base: T;
  theirs: T;
  mine: Draft;
}

export interface RecordEditor<T extends Stored> {
  editing: Editing<T> | null;
  conflict: Conflict<T> | null;
  problem: string | null;
  begin: (focus: string | null) => void;
  enter: (field: string, value: FieldValue) => void;
  cancel: () => void;
  save: () => void;
  applyMine: () => void;
  keepTheirs: () => void;
}

export function useRecordEditor<T extends Stored>(spec: RecordSpec, id: string, record: T | undefined, label: string): RecordEditor<T> {
  const { t } = useTexts();
  const client = useQueryClient();
  const [editing, setEditing] = useState<Editing<T> | null>(null);
  const [conflict, setConflict] = useState<Conflict<T> | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const key = ['record', spec.set, id];

  function reopen(base: T, draft: Draft, why: string): void {
    setEditing({ base, draft, focus: null });
    setProblem(why);
  }

  async function send(base: T, mine: Draft): Promise<void> {
    setEditing(null);
    setConflict(null);
    setProblem(null);
    await client.cancelQueries({ queryKey: key });
    const before = client.getQueryData<T>(key);
    client.setQueryData<T>(key, (now) => (now === undefined ? now : { ...now, ...mine }));
    try {
      const written = await updateRecord<T>(spec.set, id, base['@odata.etag'], mine);
      client.setQueryData(key, written.record);
      if (written.mutation !== null) {
        fates.follow({ mutation: written.mutation, set: spec.set, record: id, label, fields: Object.keys(mine) });
      }
      wrote(client, spec.set, id);
    } catch (error) {
      client.setQueryData(key, before);
      if (!(error instanceof ApiError && error.status === 412)) {
        reopen(base, mine, errorText(t, error));
        return;
      }
      await compare(base, mine, error);
    }
  }

  async function compare(base: T, mine: Draft, refused: ApiError): Promise<void> {
    try {
      const theirs = await readRecord<T>(spec.set, id);
      client.setQueryData(key, theirs);
      // 412 is also the answer where a unique number is taken: then nothing changed under the person.
      if (theirs['@odata.etag'] === base['@odata.etag']) {
        reopen(base, mine, refused.message);
        return;
      }
      // Ours was saved the first time, and only the answer was lost.
      if (Object.entries(mine).every(([field, value]) => same(valueOf(theirs, field), value))) return;
      setConflict({ base, theirs, mine });
    } catch (error) {
      reopen(base, mine, errorText(t, error));
    }
  }

  function save(): void {
    if (editing === null) return;
    const mine = changesOf(editing.base, editing.draft);
    const missing = fieldsOf(spec).find((f) => f.required && f.name in mine && mine[f.name] === null);
    if (missing !== undefined) setProblem(t.record.required(fieldLabel(t, spec.entity, missing.name)));
    else if (Object.keys(mine).length === 0) setEditing(null);
    else void send(editing.base, mine);
  }

  return {
    editing,
    conflict,
    problem,
    begin: (focus) => {
      if (record === undefined) return;
      setProblem(null);
      setEditing({ base: record, draft: {}, focus });
    },
    enter: (field, value) => setEditing((now) => (now === null ? now : { ...now, draft: { ...now.draft, [field]: value } })),
    cancel: () => {
      setEditing(null);
      setProblem(null);
    },
    save,
    applyMine: () => {
      if (conflict !== null) void send(conflict.theirs, conflict.mine);
    },
    keepTheirs: () => setConflict(null),
  };
}
