import { Button, Skeleton } from '@mantine/core';
import { useState, type FormEvent, type KeyboardEvent } from 'react';
import type { Stored } from '../../api/odata';
import { Icon } from '../../components/icon';
import { useTexts } from '../../i18n';
import { useShortcut } from '../../lib/use_shortcut';
import { lastSaved, useSaved } from '../sync/fate_mark';
import { ConflictDialog } from './conflict_dialog';
import { FieldInput } from './field_input';
import { fieldsOf, type FieldSpec, type RecordSpec } from './field_spec';
import { FieldView } from './field_view';
import styles from './record_card.module.css';
import type { RecordEditor } from './use_record_editor';
import { changesOf, isEmpty, valueOf } from './values';

interface Props<T extends Stored> {
  spec: RecordSpec;
  id: string;
  record: T | undefined; // undefined: not here yet
  editor: RecordEditor<T>;
  mayWrite: boolean;
}

// A record's fields, to read and to change in place.
export function RecordCard<T extends Stored>({ spec, id, record, editor, mayWrite }: Props<T>) {
  const { t } = useTexts();
  useShortcut('e', () => {
    if (mayWrite) editor.begin(null);
  });
  return (
    <section className={`card ${styles['card']}`} aria-label={t.record.details}>
      {record === undefined ? (
        <Waiting spec={spec} />
      ) : editor.editing !== null ? (
        <Form spec={spec} editor={editor} />
      ) : (
        <View spec={spec} id={id} record={record} editor={editor} mayWrite={mayWrite} />
      )}
      {record !== undefined && <ConflictDialog spec={spec} editor={editor} />}
    </section>
  );
}

function View<T extends Stored>({ spec, id, record, editor, mayWrite }: Omit<Props<T>, 'record'> & { record: T }) {
  const { t, format } = useTexts();
  const saved = useSaved(spec.set, id);
  const [whole, setWhole] = useState(false);
  // What is empty says nothing: it is shown on request, and in the form.
  const worth = (field: FieldSpec) => whole || !isEmpty(valueOf(record, field.name)) || lastSaved(saved, field.name) !== undefined;
  const groups = spec.groups.map((group) => ({ ...group, fields: group.fields.filter(worth) })).filter((group) => group.fields.length > 0);
  const hidden = fieldsOf(spec).filter((field) => !worth(field)).length;
  return (
    <>
      {groups.map((group) => (
        <div key={group.title} className={styles['group']}>
          <h3>{t.record.groups[group.title]}</h3>
          <dl>
            {group.fields.map((field) => (
              <FieldView
                key={field.name}
                entity={spec.entity}
                spec={field}
                value={valueOf(record, field.name)}
                saved={lastSaved(saved, field.name)}
                onEdit={mayWrite ? () => editor.begin(field.name) : null}
              />
            ))}
          </dl>
        </div>
      ))}
      <p className={`faint ${styles['times']}`}>
        {(hidden > 0 || whole) && (
          <button type="button" onClick={() => setWhole(!whole)} aria-expanded={whole}>
            {whole ? t.record.fewer : t.record.emptyFields(hidden, format.number(hidden))}
          </button>
        )}
        {t.record.created(format.ago(String(record['createdon'])))}, {t.record.modified(format.ago(String(record['modifiedon'])))}
      </p>
    </>
  );
}

function Form<T extends Stored>({ spec, editor }: { spec: RecordSpec; editor: RecordEditor<T> }) {
  const { t, format } = useTexts();
  const { editing, problem } = editor;
  if (editing === null) return null;
  const changed = Object.keys(changesOf(editing.base, editing.draft)).length;
  const first = editing.focus ?? spec.groups[0]?.fields[0]?.name;

  function onKey(event: KeyboardEvent<HTMLFormElement>) {
    const open = event.target instanceof HTMLElement && event.target.getAttribute('aria-expanded') === 'true';
    if (event.key === 'Escape' && !open) editor.cancel();
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) editor.save();
  }

  return (
    <form
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        editor.save();
      }}
      onKeyDown={onKey}
      noValidate
    >
      {spec.groups.map((group) => (
        <fieldset key={group.title} className={styles['group']}>
          <legend>{t.record.groups[group.title]}</legend>
          <div className={styles['inputs']}>
            {group.fields.map((field) => (
              <div key={field.name} data-wide={field.wide}>
                <FieldInput
                  entity={spec.entity}
                  spec={field}
                  value={field.name in editing.draft ? (editing.draft[field.name] ?? null) : valueOf(editing.base, field.name)}
                  onChange={(value) => editor.enter(field.name, value)}
                  focus={field.name === first}
                />
              </div>
            ))}
          </div>
        </fieldset>
      ))}
      <div className={styles['bar']}>
        {problem !== null ? (
          <p role="alert" data-bad>
            <Icon name="warning" size={16} /> {problem}
          </p>
        ) : (
          <p className="quiet numbers">{changed > 0 && t.record.changes(changed, format.number(changed))}</p>
        )}
        <Button variant="default" onClick={editor.cancel}>
          {t.record.cancel}
        </Button>
        <Button type="submit">{t.record.save}</Button>
      </div>
    </form>
  );
}

function Waiting({ spec }: { spec: RecordSpec }) {
  return spec.groups.map((group) => (
    <div key={group.title} className={styles['group']} aria-hidden="true">
      <Skeleton h={10} w={90} mb={18} />
      <dl>
        {group.fields.map((field, at) => (
          <div key={field.name} className={styles['field']} data-wide={field.wide}>
            <Skeleton h={9} w={70} mb={10} />
            <Skeleton h={13} w={100 + ((at * 47) % 90)} />
          </div>
        ))}
      </dl>
    </div>
  ));
}
