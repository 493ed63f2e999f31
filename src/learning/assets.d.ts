// The page's own files, which are imported as text: `with { type: "text" }`.
declare module "*.css" {
  const text: string;
  export default text;
}
declare module "*/script.js" {
  const text: string;
  export default text;
}
