import { Button, Checkbox, PasswordInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { ApiError, call } from '../../api/http';
import { kData } from '../../api/odata';
import { session } from '../../api/session';
import { Icon, Mark } from '../../components/icon';
import { errorText } from '../../components/states';
import { useTexts } from '../../i18n';
import styles from './sign_in.module.css';

export function SignIn() {
  const { t, language, setLanguage } = useTexts();
  const [token, setToken] = useState('');
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState<string | null>(null);
  const { because } = session.current();
  const notice = because === 'refused' ? t.signIn.expired : because === 'left' ? t.signIn.left : null;

  async function submit(event: FormEvent) {
    event.preventDefault();
    const tried = token.trim();
    if (tried === '') {
      setWrong(t.signIn.empty);
      return;
    }
    setBusy(true);
    setWrong(null);
    try {
      await call(`${kData}WhoAmI()`, { token: tried });
      session.open(tried, remember);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) setWrong(t.signIn.wrong);
      else if (error instanceof ApiError && error.code === 'branch.joining') setWrong(t.signIn.joining);
      else setWrong(errorText(t, error));
      setBusy(false);
    }
  }

  return (
    <main className={styles['page']}>
      <form className={`card ${styles['form']}`} onSubmit={submit} noValidate>
        <div className={styles['brand']}>
          <Mark size={44} />
          <h1>{t.app.name}</h1>
          <p className="quiet">{t.signIn.lead}</p>
        </div>
        {notice !== null && wrong === null && (
          <p className={styles['notice']} role="status">
            <Icon name="clock" size={16} /> {notice}
          </p>
        )}
        <PasswordInput
          label={t.signIn.token}
          description={t.signIn.tokenHelp}
          size="md"
          value={token}
          onChange={(event) => setToken(event.currentTarget.value)}
          error={wrong}
          autoComplete="current-password"
          autoFocus
          spellCheck={false}
          visibilityToggleButtonProps={{ 'aria-label': t.signIn.show }}
          errorProps={{ role: 'alert' }}
        />
        <Checkbox
          label={t.signIn.remember}
          checked={remember}
          onChange={(event) => setRemember(event.currentTarget.checked)}
        />
        <Button type="submit" size="md" fullWidth loading={busy}>
          {t.signIn.submit}
        </Button>
      </form>
      <button
        type="button"
        className={styles['language']}
        lang={language === 'en' ? 'de' : 'en'}
        onClick={() => setLanguage(language === 'en' ? 'de' : 'en')}
      >
        {language === 'en' ? 'Deutsch' : 'English'}
      </button>
    </main>
  );
}
