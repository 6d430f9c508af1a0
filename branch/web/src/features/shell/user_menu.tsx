import { Popover, SegmentedControl, UnstyledButton, useMantineColorScheme } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { queries } from '../../api/queries';
import { session } from '../../api/session';
import { useTexts, type Language } from '../../i18n';
import { Tile } from '../../components/tile';
import styles from './user_menu.module.css';

export function UserMenu() {
  const { t, language, setLanguage } = useTexts();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const me = useQuery(queries.me());
  const name = me.data?.FullName ?? '';
  return (
    <Popover position="bottom-end" shadow="md" width={280} trapFocus returnFocus>
      <Popover.Target>
        <UnstyledButton className={styles['button'] ?? ''} aria-label={t.app.menu}>
          <Tile name={name} size={34} round />
        </UnstyledButton>
      </Popover.Target>
      <Popover.Dropdown className={styles['menu'] ?? ''}>
        <div>
          <strong>{name}</strong>
          <p className="quiet">
            {me.data?.Server}
            {me.data?.MayWrite === false && ` · ${t.settings.readOnly}`}
          </p>
        </div>
        <label>
          <span>{t.settings.appearance}</span>
          <SegmentedControl
            size="xs"
            fullWidth
            aria-label={t.settings.appearance}
            value={colorScheme}
            onChange={(value) => setColorScheme(value as 'light' | 'dark' | 'auto')}
            data={[
              { value: 'light', label: t.settings.light },
              { value: 'dark', label: t.settings.dark },
              { value: 'auto', label: t.settings.system },
            ]}
          />
        </label>
        <label>
          <span>{t.settings.language}</span>
          <SegmentedControl
            size="xs"
            fullWidth
            aria-label={t.settings.language}
            value={language}
            onChange={(value) => setLanguage(value as Language)}
            data={[
              { value: 'en', label: 'English' },
              { value: 'de', label: 'Deutsch' },
            ]}
          />
        </label>
        <UnstyledButton className={styles['leave'] ?? ''} onClick={() => session.close('left')}>
          {t.settings.signOut}
        </UnstyledButton>
      </Popover.Dropdown>
    </Popover>
  );
}
