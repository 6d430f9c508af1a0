import { Popover, UnstyledButton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { queries } from '../../api/queries';
import type { SyncStatus } from '../../api/sync';
import { useTexts } from '../../i18n';
import type { Formats } from '../../i18n/formats';
import type { Messages } from '../../i18n/en';
import styles from './sync_state.module.css';

type Mood = 'good' | 'busy' | 'away' | 'bad';

interface Told {
  mood: Mood;
  title: string;
  detail: string | null;
  help: string;
}

function waiting(t: Messages, format: Formats, status: SyncStatus): string {
  const shown = format.number(status.pending);
  if (status.pendingSince === undefined) return t.sync.waiting(status.pending, shown);
  return t.sync.waitingSince(status.pending, shown, format.time(status.pendingSince));
}

// What the header says, from what the server says.
export function tellSync(t: Messages, format: Formats, status: SyncStatus | undefined, reachable: boolean): Told | null {
  if (!reachable) return { mood: 'bad', title: t.sync.unreachable, detail: null, help: t.sync.unreachableHelp };
  if (status === undefined) return null;
  const { link, pending } = status;
  if (link.state === 'refused') {
    return { mood: 'bad', title: t.sync.refused, detail: null, help: `${t.sync.refusedHelp} ${link.problem ?? ''}` };
  }
  if (!link.connected) {
    const since = link.downSince === undefined ? null : t.sync.offlineSince(format.time(link.downSince));
    const detail = pending > 0 ? waiting(t, format, status) : since;
    return { mood: 'away', title: t.sync.offline, detail, help: t.sync.offlineHelp };
  }
  if (status.joining !== undefined && !status.joined) {
    const { records, expected } = status.joining;
    const detail = t.sync.joiningOf(format.number(records), format.number(expected));
    return { mood: 'busy', title: t.sync.joining, detail, help: t.sync.waitingHelp };
  }
  if (pending > 0) {
    return { mood: 'busy', title: t.sync.waiting(pending, format.number(pending)), detail: null, help: t.sync.waitingHelp };
  }
  if (!link.caughtUp) return { mood: 'busy', title: t.sync.receiving, detail: null, help: t.sync.waitingHelp };
  return { mood: 'good', title: t.sync.upToDate, detail: null, help: t.sync.upToDateHelp };
}

export function SyncState({ live }: { live: boolean }) {
  const { t, format } = useTexts();
  const query = useQuery(queries.status());
  const told = tellSync(t, format, query.data, !query.isError);
  if (told === null) return null;
  const status = query.data;
  return (
    <Popover position="bottom-end" shadow="md" width={320} returnFocus>
      <Popover.Target>
        <UnstyledButton className={styles['pill'] ?? ''} data-mood={told.mood} aria-label={`${t.sync.label}: ${told.title}`}>
          <span className={styles['dot']} />
          <span role="status" aria-live="polite" className={styles['text']}>
            <span>{told.title}</span>
            {told.detail !== null && <small> ({told.detail})</small>}
          </span>
        </UnstyledButton>
      </Popover.Target>
      <Popover.Dropdown p="lg">
        <p className={styles['help']}>{told.help}</p>
        {status !== undefined && (
          <dl className={`numbers ${styles['facts']}`}>
            <dt>{t.sync.office}</dt>
            <dd>{status.server}</dd>
            <dt>{t.sync.territories}</dt>
            <dd>{status.territories.join(', ')}</dd>
            <dt>{t.sync.pending}</dt>
            <dd>{format.number(status.pending)}</dd>
            {status.link.connected && (
              <>
                <dt>{t.sync.roundTrip}</dt>
                <dd>{format.number(status.link.roundTripMs)} ms</dd>
              </>
            )}
            <dt>{t.sync.live}</dt>
            <dd>{live ? t.sync.liveOn : t.sync.liveOff}</dd>
          </dl>
        )}
      </Popover.Dropdown>
    </Popover>
  );
}
