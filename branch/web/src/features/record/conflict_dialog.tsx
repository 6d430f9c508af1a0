import { Button, Modal } from '@mantine/core';
import type { Stored } from '../../api/odata';
import { fieldLabel, useTexts } from '../../i18n';
import styles from './conflict_dialog.module.css';
import { fieldsOf, type RecordSpec } from './field_spec';
import type { RecordEditor } from './use_record_editor';
import { same, showValue, valueOf } from './values';

// Somebody was faster: what they did and what was entered here, side by side.
export function ConflictDialog<T extends Stored>({ spec, editor }: { spec: RecordSpec; editor: RecordEditor<T> }) {
  const { t, format } = useTexts();
  const { conflict } = editor;
  if (conflict === null) return null;
  const { base, theirs, mine } = conflict;
  const rows = fieldsOf(spec).filter((f) => f.name in mine || !same(valueOf(base, f.name), valueOf(theirs, f.name)));
  return (
    <Modal opened onClose={editor.keepTheirs} title={t.conflict.title} size="xl" centered withCloseButton={false}>
      {/* Not a button: the Enter that saved must not decide as well. */}
      <p className={styles['lead']} data-autofocus tabIndex={-1}>
        {t.conflict.lead}
      </p>
      <table className={styles['table']}>
        <thead>
          <tr>
            <th scope="col">{t.conflict.field}</th>
            <th scope="col">{t.conflict.before}</th>
            <th scope="col">{t.conflict.theirs}</th>
            <th scope="col">{t.conflict.mine}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((field) => {
            const show = (value: ReturnType<typeof valueOf>) => showValue(t, format, spec.entity, field, value) || '–';
            const before = valueOf(base, field.name);
            const now = valueOf(theirs, field.name);
            const changed = !same(before, now);
            return (
              <tr key={field.name}>
                <th scope="row">{fieldLabel(t, spec.entity, field.name)}</th>
                <td className="quiet">{show(before)}</td>
                <td data-changed={changed || undefined}>{changed ? show(now) : <span className="faint">{t.conflict.unchanged}</span>}</td>
                <td data-mine={field.name in mine || undefined}>{field.name in mine && show(mine[field.name] ?? null)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <div className={styles['actions']}>
        <Button variant="default" onClick={editor.keepTheirs}>
          {t.conflict.keep}
        </Button>
        <Button onClick={editor.applyMine}>
          {t.conflict.apply}
        </Button>
      </div>
    </Modal>
  );
}
