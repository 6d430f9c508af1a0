import { Button } from '@mantine/core';
import { useSyncExternalStore } from 'react';
import { Link } from 'react-router-dom';
import { asAsked, fates, type Saved } from '../../api/fates';
import { Icon } from '../../components/icon';
import { fieldLabel, useTexts } from '../../i18n';
import styles from './attention_list.module.css';

// What head office decided otherwise than it was asked: said where the person is now, until it was seen.
export function AttentionList() {
  const { t } = useTexts();
  const all = useSyncExternalStore(fates.subscribe, fates.all);
  const open = all.filter((s) => s.state !== 'pending' && !asAsked(s.state));
  if (open.length === 0) return null;
  // A note is no field with a name.
  const fieldsOf = (saved: Saved) => saved.fields.filter((f) => !f.startsWith('note:')).map((f) => fieldLabel(t, saved.set.slice(0, -1), f));
  return (
    <section className={styles['list']} aria-label={t.sync.attention} role="alert">
      {open.map((saved) => (
        <div key={saved.mutation} className={styles['item']}>
          <Icon name="warning" />
          <p>
            <Link to={`/${saved.set}/${saved.record}`}>{saved.label}</Link>
            {fieldsOf(saved).length > 0 && ` · ${fieldsOf(saved).join(', ')}`}
            <br />
            {t.fate.because(t.fate[saved.state], saved.reasons.join(' '))}
          </p>
          <Button size="xs" variant="default" onClick={() => fates.dismiss(saved.mutation)}>
            {t.fate.dismiss}
          </Button>
        </div>
      ))}
    </section>
  );
}
