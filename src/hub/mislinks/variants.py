"""Characters that are one character in names and addresses, written in several ways: a table as data.

Each word of the table is one character in all its shapes, the plain one first. Entered by hand from the public lists
of the law: the forms in brackets of the list of characters for general use (常用漢字表, いわゆる康熙字典体), those
that the list of characters for given names keeps beside them (戸籍法施行規則別表第二), and the shapes of surnames
that family registers and residence records carry over (髙, 﨑, 濵, 邉, 𠮷). Compatibility characters need no entry:
they fall together under NFKC. 斎 and 斉 are two characters by origin and are one here: files have mixed them for a
century, and the other three attributes must match as well.

Not here, because they make another name: 大 太, 未 末, 土 士, 千 干, 坂 阪, 川 河, 池 地, 畠 畑, 広 弘, 伊藤 伊東.
"""

from __future__ import annotations

NAMES = """
高髙 崎﨑嵜 徳德悳 斎齋斉齊 辺邊邉 浜濱濵 桜櫻 富冨 吉𠮷 館舘 桑桒 島嶋嶌 橋槗 真眞 清淸 恵惠 広廣 国國圀 瀬瀨
静靜 昇曻 園薗 薮藪 篭籠 桧檜 梼檮 凛凜 峰峯 峨峩 秋穐龝 熙煕凞 穎頴 尭堯 遥遙 槙槇 瑶瑤 諌諫 祢禰 弥彌 鴎鷗
鴬鶯 芦蘆 蛎蠣 竃竈 枡桝 柳栁 沢澤 渋澁 寿壽 児兒 亀龜 竜龍 滝瀧 岳嶽 栄榮 衛衞 実實 当當 条條 応應 楽樂 観觀
関關関 彦彥 郎郞 曽曾 黒黑 黄黃 徴徵 剣劍劔 塩鹽 円圓 会會 学學 気氣 帰歸 糸絲 歯齒 寧寕 松枩 杉椙 梅楳 蔵藏 礼禮
"""
"""Shapes that names have most."""

OLD = """
亜亞 悪惡 圧壓 囲圍 医醫 為爲 壱壹 隠隱 営營 駅驛 縁緣 艶艷 欧歐 殴毆 奥奧 横橫 温溫 穏穩 仮假 価價 画畫 絵繪 壊壞
懐懷 概槪 拡擴 殻殼 覚覺 渇渴 缶罐 巻卷 陥陷 勧勸 寛寬 歓歡 既旣 偽僞 戯戲 犠犧 旧舊 拠據 挙擧 虚虛 峡峽 挟挾
狭狹 郷鄕 暁曉 区區 駆驅 勲勳 薫薰 径徑 茎莖 掲揭 渓溪 経經 蛍螢 軽輕 継繼 鶏鷄 芸藝 撃擊 欠缺 研硏 県縣 倹儉
険險 圏圈 検檢 献獻 権權 顕顯 験驗 厳嚴 効效 恒恆 鉱鑛 号號 砕碎 済濟 剤劑 雑雜 参參 桟棧 蚕蠶 惨慘 賛贊 残殘
辞辭 湿濕 写寫 釈釋 収收 従從 獣獸 縦縱 粛肅 処處 緒緖 叙敍 尚尙 将將 称稱 渉涉 焼燒 証證 奨奬 状狀 乗乘 浄淨
剰剩 畳疊 縄繩 壌壤 嬢孃 譲讓 醸釀 触觸 嘱囑 寝寢 慎愼 尽盡 図圖 粋粹 酔醉 穂穗 随隨 髄髓 枢樞 数數 声聲 窃竊
摂攝 専專 浅淺 戦戰 践踐 銭錢 潜潛 繊纖 禅禪 双雙 壮壯 争爭 荘莊 捜搜 挿插 巣巢 痩瘦 装裝 総總 騒騷 増增 臓臟
即卽 属屬 続續 堕墮 対對 体體 帯帶 滞滯 台臺 択擇 担擔 単單 胆膽 団團 断斷 弾彈 遅遲 痴癡 虫蟲 昼晝 鋳鑄 庁廳
聴聽 鎮鎭 逓遞 鉄鐵 点點 転轉 伝傳 灯燈 党黨 盗盜 稲稻 闘鬪 独獨 読讀 届屆 弐貳 悩惱 脳腦 覇霸 拝拜 廃廢 売賣
麦麥 発發 髪髮 抜拔 晩晚 蛮蠻 秘祕 瓶甁 払拂 仏佛 併倂 並竝 餅餠 変變 弁辨瓣辯 歩步 宝寶 豊豐 褒襃 翻飜 毎每
万萬 満滿 麺麵 黙默 訳譯 薬藥 与與 予豫 余餘 誉譽 揺搖 様樣 謡謠 来來 頼賴 乱亂 覧覽 両兩 猟獵 緑綠 涙淚 塁壘
励勵 戻戾 霊靈 隷隸 齢齡 暦曆 歴歷 恋戀 錬鍊 炉爐 労勞 楼樓 録錄 湾灣 侠俠 倶俱 呑吞 填塡 嘘噓 妍姸 屏屛 并幷
掻搔 掴摑 繋繫 蝋蠟 頬頰 麹麴 醤醬 剥剝 叱𠮟 箪簞 蝉蟬 騨驒 蘒萩 莱萊 焔焰 晋晉 巌巖 壷壺 桧檜 祷禱 穣穰 聡聰
"""
"""Old shapes of characters for general use and for given names."""

VARIANTS = {ord(other): word[0] for word in (NAMES + OLD).split() for other in word[1:] if other != word[0]}
"""For ``str.translate``: each shape to its plain one."""
