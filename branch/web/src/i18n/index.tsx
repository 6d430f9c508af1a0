import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from 'react';
import { de } from './de';
import { en, type Messages } from './en';
import { makeFormats, type Formats } from './formats';

export type Language = 'en' | 'de';
const kKey = 'branchline.language';
const kMessages: Record<Language, Messages> = { en, de };

interface Texts {
  language: Language;
  setLanguage: (language: Language) => void;
  t: Messages;
  format: Formats;
}

const Context = createContext<Texts | null>(null);

function preferred(): Language {
  const kept = localStorage.getItem(kKey);
  if (kept === 'en' || kept === 'de') return kept;
  return navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}

export function TextsProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(preferred);
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  // “2 minutes ago” is to stay true.
  const [minute, setMinute] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setMinute((now) => now + 1), 60_000);
    return () => clearInterval(timer);
  }, []);
  const value = useMemo<Texts>(() => {
    // The person's own region where it speaks the language: dates as they are used to.
    const region = navigator.languages.find((l) => l.toLowerCase().startsWith(language));
    return {
      language,
      setLanguage: (next) => {
        localStorage.setItem(kKey, next);
        setLanguage(next);
      },
      t: kMessages[language],
      format: makeFormats(region ?? language),
    };
  }, [language, minute]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useTexts(): Texts {
  const texts = useContext(Context);
  if (texts === null) throw new Error('useTexts outside of TextsProvider');
  return texts;
}

export function fieldLabel(t: Messages, entity: string, field: string): string {
  return t.fields[`${entity}.${field}`] ?? t.fields[field] ?? field;
}

export function optionLabel(t: Messages, entity: string, field: string, value: number): string {
  return t.options[`${entity}.${field}`]?.[value] ?? String(value);
}
