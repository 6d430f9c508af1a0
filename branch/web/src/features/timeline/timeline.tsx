import { Button, Skeleton, Textarea } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, useSyncExternalStore, type FormEvent, type KeyboardEvent } from 'react';
import type { Activity, Note } from '../../api/entities';
import { fates } from '../../api/fates';
import { call } from '../../api/http';
import { wrote } from '../../api/live';
import { kData } from '../../api/odata';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { Empty, errorText, Problem } from '../../components/states';
import { optionLabel, useTexts } from '../../i18n';
import { randomKey } from '../../lib/random';
import { FateMark, lastSaved } from '../sync/fate_mark';
import styles from './timeline.module.css';

interface Props {
  set: string;
  entity: string;
  id: string;
  label: string;
  mayWrite: boolean;
}

interface Entry {
  id: string;
  kind: string | null;
  title: string | null;
  text: string | null;
  author: string | null;
  at: string;
}

const fromNote = (note: Note): Entry => ({
  id: note.annotationid,
  kind: null,
  title: note.subject,
  text: note.notetext,
  author: note._createdby_value,
  at: note.createdon,
});

// What was said and done about a record, newest first.
export function Timeline({ set, entity, id, label, mayWrite }: Props) {
  const { t, format } = useTexts();
  const notes = useQuery(queries.notesOf(set, id));
  const activities = useQuery(queries.activitiesOf(id));
  const users = useQuery(queries.users());
  const me = useQuery(queries.me());
  const saved = useSyncExternalStore(fates.subscribe, fates.all);

  const fromActivity = (activity: Activity): Entry => ({
    id: activity.activityid,
    kind: optionLabel(t, 'activitypointer', 'activitytypecode', activity.activitytypecode),
    title: activity.subject,
    text: activity.description,
    author: activity._createdby_value,
    at: activity.createdon,
  });
  const entries = [...(notes.data?.value ?? []).map(fromNote), ...(activities.data?.value ?? []).map(fromActivity)].sort((a, b) =>
    b.at.localeCompare(a.at),
  );
  const nameOf = (user: string | null) => {
    if (user !== null && user === me.data?.UserId) return t.notes.you;
    return (user === null ? undefined : users.data?.get(user)) ?? t.notes.somebody;
  };

  return (
    <section className={`card ${styles['card']}`} aria-label={t.notes.title}>
      <h2>{t.notes.title}</h2>
      {mayWrite && <Composer set={set} entity={entity} id={id} label={label} />}
      {notes.isPending ? (
        <div className={styles['waiting']}>
          <Skeleton h={12} w="70%" />
          <Skeleton h={12} w="45%" />
        </div>
      ) : notes.isError && notes.data === undefined ? (
        <Problem error={notes.error} retry={() => void notes.refetch()} />
      ) : entries.length === 0 ? (
        <Empty icon="note" title={t.notes.none} help={t.notes.noneHelp} />
      ) : (
        <ol className={styles['entries']}>
          {entries.map((entry) => (
            <li key={entry.id}>
              <p className={styles['who']}>
                <strong>{nameOf(entry.author)}</strong>
                <time dateTime={entry.at} title={format.moment(entry.at)} className="faint">
                  {format.ago(entry.at)}
                </time>
                <FateMark saved={lastSaved(saved, `note:${entry.id}`)} short />
              </p>
              {entry.title !== null && entry.title !== '' && (
                <p className={styles['title']}>
                  {entry.kind !== null && <span className="quiet">{entry.kind}: </span>}
                  {entry.title}
                </p>
              )}
              {entry.text !== null && entry.text !== '' && <p className={styles['text']}>{entry.text}</p>}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Composer({ set, entity, id, label }: Omit<Props, 'mayWrite'>) {
  const { t } = useTexts();
  const client = useQueryClient();
  const [text, setText] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  // Kept until the note is in: sent again after a lost answer, it is not written twice.
  const [key, setKey] = useState(randomKey);

  async function add() {
    if (text.trim() === '' || busy) return;
    setBusy(true);
    setProblem(null);
    try {
      const answer = await call(`${kData}annotations`, {
        method: 'POST',
        body: { notetext: text.trim(), [`objectid_${entity}@odata.bind`]: `/${set}(${id})` },
        headers: { 'Idempotency-Key': key },
      });
      setText('');
      setKey(randomKey());
      const note = answer.created?.match(/\(([0-9a-f-]{36})\)$/)?.[1] ?? '';
      if (answer.mutation !== null) fates.follow({ mutation: answer.mutation, set, record: id, label, fields: [`note:${note}`] });
      wrote(client, set, id);
    } catch (error) {
      setProblem(errorText(t, error));
    } finally {
      setBusy(false);
    }
  }

  function onKey(event: KeyboardEvent) {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void add();
  }

  return (
    <form
      className={styles['composer']}
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        void add();
      }}
    >
      <Textarea
        aria-label={t.notes.label}
        placeholder={t.notes.placeholder}
        autosize
        minRows={2}
        maxRows={10}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKey}
      />
      {problem !== null && (
        <p role="alert">
          <Icon name="warning" size={16} /> {problem}
        </p>
      )}
      {(text !== '' || busy) && (
        <Button type="submit" size="sm" loading={busy}>
          {t.notes.add}
        </Button>
      )}
    </form>
  );
}
