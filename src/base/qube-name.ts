// Names that Qubes OS gives to qubes (qubes-core-admin, qubes/vm/__init__.py).

const QUBE_NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,30}$/;

export function isQubeName(name: string): boolean {
  return QUBE_NAME.test(name);
}
