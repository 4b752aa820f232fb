// Who serves the page, where that can start a run itself. `tbseg look` shows the command instead.
export default null;
